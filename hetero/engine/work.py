"""What the engine's loop needs of the kind of work it does: generating or encoding."""

from typing import Protocol

from hetero import errors
from hetero.batch import Batch, BatchResult
from hetero.engine.settings import EngineStats
from hetero.errors import BackendError, HeteroError


class Work(Protocol):
    """Requests of one kind, waiting, running and in flight. All methods but `stats` are the engine thread's."""

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        ...

    @property
    def in_flight(self) -> int:
        """Batches that were scheduled and have not come back whole."""
        ...

    def expire(self) -> None:
        """End the requests whose deadline has passed."""
        ...

    def schedule(self) -> Batch | None:
        """The next batch to submit, counted as in flight from now on; None where nothing can run now."""
        ...

    def postprocess(self, result: BatchResult) -> None:
        """Take what came back for a batch that is in flight."""
        ...

    def fail_all(self, error: HeteroError) -> None:
        """End every request with this error."""
        ...

    def abandon(self) -> None:
        """The batches in flight will not return: free what they hold."""
        ...

    def stats(self) -> EngineStats:
        """Counts at this moment; any thread may ask."""
        ...


def error_of(result: BatchResult) -> HeteroError | None:
    """The error that a stage reported for the batch, of its own class if it is one of ours, else a BackendError."""
    if result.error is None:
        return None
    name, message = result.error
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, HeteroError):
        return kind(message)
    return BackendError(f"a stage failed on the batch ({name}): {message}")


def fresh(error: HeteroError) -> HeteroError:
    """The same error anew: one that several threads raise would mix their traces."""
    return type(error)(str(error))
