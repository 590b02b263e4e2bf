"""A completion on its way: chunks to iterate over, and the whole of it at the end.

The same for a runtime in this process and for a client of a server; knows neither engine nor gRPC.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from hetero.errors import CancelledRequestError
from hetero.types import Chunk, Completion, FinishReason, Timings
from placement.types import Plan


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known once the last chunk is out."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    timings: Timings
    seed: int
    plan: Plan


class CompletionStream(Iterator[Chunk]):
    """Chunks as they come; `result()` reads the rest and gives the whole completion.

    Closing it, or leaving its `with` block, before the end cancels the request. One thread reads it.
    """

    def __init__(self, items: Iterator[Chunk | Ending], cancel: Callable[[], None]) -> None:
        self._items = items
        self._cancel = cancel
        self._chunks: list[Chunk] = []
        self._ending: Ending | None = None
        self._over = False

    def __next__(self) -> Chunk:
        if self._over:
            raise StopIteration
        try:
            item = next(self._items)
        except BaseException:
            self.close()
            raise
        if isinstance(item, Chunk):
            self._chunks.append(item)
            return item
        self._ending, self._over = item, True
        raise StopIteration

    def result(self) -> Completion:
        """The whole completion, reading what is left. Raises CancelledRequestError where it was closed before."""
        for _ in self:
            pass
        if self._ending is None:
            raise CancelledRequestError("the completion was closed before its end")
        return _completion(self._chunks, self._ending)

    def close(self) -> None:
        """Cancel the request unless it has ended; a second call does nothing."""
        if not self._over:
            self._over = True
            self._cancel()

    def __enter__(self) -> "CompletionStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def join_chunks(chunks: list[Chunk]) -> Chunk:
    """Several chunks in order as one."""
    return Chunk(
        "".join(chunk.text for chunk in chunks),
        tuple(token_id for chunk in chunks for token_id in chunk.token_ids),
        tuple(logprob for chunk in chunks for logprob in chunk.logprobs),
        chunks[-1].finish_reason,
        tuple(depth for chunk in chunks for depth in chunk.depths),
    )


def _completion(chunks: list[Chunk], ending: Ending) -> Completion:
    whole = join_chunks(chunks) if chunks else Chunk("", ())
    return Completion(
        whole.text,
        whole.token_ids,
        ending.prompt_tokens,
        ending.completion_tokens,
        ending.finish_reason,
        ending.timings,
        ending.plan,
        ending.seed,
        whole.logprobs,
        whole.depths,
    )
