"""`python evaluate.py run=runs/sst2/...` is `eat evaluate run=...`; ``--help`` lists what can be chosen."""

from eat.cli.evaluate import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
