"""`python -m hetero` is `hetero`."""

from hetero.cli.main import main

if __name__ == "__main__":
    main()
