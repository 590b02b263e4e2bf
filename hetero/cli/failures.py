"""How a command fails: one sentence on stderr and an exit code. Knows our errors and typer's usage errors.

2: what was asked for cannot be done as asked. 1: it began and was lost. 130: interrupted from the keyboard.
"""

import errno

from adaptive.errors import AdaptiveError
from hetero.errors import CancelledRequestError, HeteroError, OverloadedError, StageLostError, UnavailableError
from placement import PlacementError
from privacy.errors import PrivacyError

WRONG_INPUT = 2
LOST = 1
INTERRUPTED = 130
#: What the system may refuse to any program: no room, no right, too much open.
_REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE}
)


def exit_code(error: BaseException) -> int:
    """The exit code for an error that ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError | StageLostError | OverloadedError | CancelledRequestError | UnavailableError):
        return LOST
    return WRONG_INPUT


def is_expected(error: BaseException) -> bool:
    """Whether the error is an answer to the user; anything else is a defect, whose traceback must be seen."""
    ours = HeteroError | PlacementError | PrivacyError | AdaptiveError
    refused = isinstance(error, OSError) and error.errno in _REFUSALS
    return refused or isinstance(error, ours) or hasattr(error, "format_message")


def sentence(error: BaseException) -> str:
    """The error's message on one line; typer's usage errors say theirs by `format_message`, or none beside help."""
    if isinstance(error, OSError):
        where = f" for {error.filename!r}" if error.filename else ""
        return f"the system refused: {error.strerror}{where}; mend that and run the command again"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(message.split())
