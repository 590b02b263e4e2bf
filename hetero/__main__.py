"""`python -m hetero`, and the `hetero` script: until the command is imported, Ctrl-C ends it without a word."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Import the command, which takes a part of a second, and run it."""
    interrupting = signal.getsignal(signal.SIGINT)
    if interrupting is signal.default_int_handler:  # else somebody wants no interrupts, as for a job in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hetero.cli.main import main as command

    signal.signal(signal.SIGINT, interrupting)
    command()


if __name__ == "__main__":
    main()
