"""How other threads reach the engine's thread: commands in order, and a bell. Knows nothing of what they do."""

from collections import deque
from collections.abc import Callable
from threading import Condition

from hetero.engine.work import fresh
from hetero.errors import HeteroError

Command = Callable[[], None]


class Inbox:
    """Commands for the engine's thread. Once closed it refuses every more with the error that it was closed with."""

    def __init__(self) -> None:
        self._bell = Condition()
        self._commands: deque[Command] = deque()
        self._refusal: HeteroError | None = None

    @property
    def refusal(self) -> HeteroError | None:
        """What the inbox was closed with; None while it is open."""
        return self._refusal

    def put(self, command: Command) -> None:
        """Raises an error of the kind, and with the message, that the inbox was closed with."""
        with self._bell:
            self.check_open()
            self._commands.append(command)
            self._bell.notify()

    def check_open(self) -> None:
        """Raises what `put` would raise."""
        if self._refusal is not None:
            raise fresh(self._refusal)

    def take(self) -> list[Command]:
        """All commands so far, without waiting."""
        with self._bell:
            taken = list(self._commands)
            self._commands.clear()
        return taken

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep until there is a command or the inbox is closed; False where neither came in time."""
        with self._bell:
            return self._bell.wait_for(lambda: bool(self._commands) or self._refusal is not None, timeout_seconds)

    def close(self, refusal: HeteroError) -> None:
        """The first call's error stays."""
        with self._bell:
            self._refusal = self._refusal or refusal
            self._bell.notify_all()
