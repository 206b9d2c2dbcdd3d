"""`python -m eat`: the same as the command `eat`."""

from eat.cli.main import main

if __name__ == "__main__":
    main()
