"""`python train.py task=sst2` is `eat train task=sst2`; ``--help`` lists the choices."""

from eat.cli.train import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
