"""What becomes of one request's tokens: text, stops, chunks, timings, and the sink that takes them.

Knows nothing of scheduling. Owned by the engine's thread, as is the sink's call.
"""

import logging
from collections.abc import Collection, Sequence
from itertools import pairwise
from statistics import median

from hetero.batch import SampledToken
from hetero.engine.detokenizer import Detokenizer, TextDecoder
from hetero.engine.requests import Event, Failed, Finished, Sink
from hetero.engine.stops import StopFinder
from hetero.errors import HeteroError
from hetero.types import Chunk, FinishReason, SamplingParams, Timings, TokenLogprob

logger = logging.getLogger(__name__)


class Output:
    """The events of one request. `deaf`: its sink has raised and gets no more.

    A chunk carries the ids of all tokens since the chunk before, so a token whose text is held back (an unfinished
    character, the possible start of a stop string) comes with a later one. Ids that end the completion count as its
    tokens and have no text; so do the tokens of a stop string.
    """

    def __init__(
        self,
        request_id: str,
        sampling: SamplingParams,
        decoder: TextDecoder,
        end_ids: Collection[int],
        sink: Sink,
        depths: tuple[int, int] | None = None,
        prompt_ids: Sequence[int] = (),
    ) -> None:
        """`depths`: blocks up to the exit that drafts, and in all; None: nothing drafts, and no depth is told."""
        self.deaf = False
        self._request_id = request_id
        self._max_tokens = sampling.max_tokens
        self._wants_logprobs = sampling.logprobs is not None
        self._end_ids = frozenset(end_ids)
        self._text = Detokenizer(decoder, prompt_ids)
        self._stops = StopFinder(sampling.stop)
        self._sink = sink
        self._count = 0
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._exit_and_end = depths
        self._depths: list[int] = []
        self._differing = 0

    def accept(self, token: SampledToken) -> FinishReason | None:
        """Take the next token, tell what text is final, and say whether the completion ends with it."""
        self._count += 1
        self._keep(token)
        ending = self._ending(token.token_id)
        text, stopped = self._stops.feed(self._piece(token.token_id, ending))
        reason = FinishReason.STOP if stopped else ending
        if reason is not None and not stopped:
            text += self._stops.flush()
        if text or reason is not None:
            self._tell_chunk(text, reason)
        return reason

    @property
    def differing(self) -> float:
        """The share of tokens so far for which full depth is known to say another."""
        return self._differing / max(1, self._count)

    def finish(
        self, prompt_tokens: int, reason: FinishReason, timings: Timings, seed: int, audited: bool = False
    ) -> None:
        differing = self.differing if audited else None
        self._tell(Finished(prompt_tokens, self._count, reason, timings, seed, differing))

    def fail(self, error: HeteroError) -> None:
        self._tell(Failed(error))

    def _keep(self, token: SampledToken) -> None:
        self._token_ids.append(token.token_id)
        self._differing += token.differs
        if self._exit_and_end:
            self._depths.append(self._exit_and_end[0 if token.accepted or token.exited else 1])
        if self._wants_logprobs and token.logprob is not None:
            self._logprobs.append(TokenLogprob(token.token_id, token.logprob, token.alternatives))

    def _ending(self, token_id: int) -> FinishReason | None:
        if token_id in self._end_ids:
            return FinishReason.EOS
        return FinishReason.LENGTH if self._count >= self._max_tokens else None

    def _piece(self, token_id: int, ending: FinishReason | None) -> str:
        piece = "" if ending is FinishReason.EOS else self._text.add(token_id)
        return piece if ending is None else piece + self._text.flush()

    def _tell_chunk(self, text: str, reason: FinishReason | None) -> None:
        chunk = Chunk(text, tuple(self._token_ids), tuple(self._logprobs), reason, tuple(self._depths))
        for told in (self._token_ids, self._logprobs, self._depths):
            told.clear()
        self._tell(chunk)

    def _tell(self, event: Event) -> None:
        if self.deaf:
            return
        try:
            self._sink(event)
        except BaseException:  # whatever it is, it ends this request and not the engine
            self.deaf = True
            logger.exception("the sink of request %s failed; the request is cancelled", self._request_id)


class Stopwatch:
    """When a request was submitted, first ran and got its tokens, in `time.monotonic` seconds."""

    def __init__(self, submitted_at_seconds: float) -> None:
        self._submitted = submitted_at_seconds
        self._started: float | None = None
        self._tokens: list[float] = []

    def start(self, now_seconds: float) -> None:
        """The request is in a batch; later calls, after a preemption too, change nothing."""
        if self._started is None:
            self._started = now_seconds

    def token(self, now_seconds: float) -> None:
        self._tokens.append(now_seconds)

    def timings(self) -> Timings:
        """Needs one token at least. Tokens per second are those after the first, over the time that they took."""
        first, last = self._tokens[0], self._tokens[-1]
        gaps = [after - before for before, after in pairwise(self._tokens)]
        ttft = first - self._submitted
        rate = len(gaps) / (last - first) if last > first else 1 / max(ttft, 1e-9)
        started = self._submitted if self._started is None else self._started
        return Timings(ttft, median(gaps) if gaps else 0.0, rate, started - self._submitted)
