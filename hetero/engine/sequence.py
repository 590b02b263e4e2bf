"""One request's tokens, blocks and slot, as the scheduler moves it. Owned by the engine's thread.

Knows nothing of text, sinks or clocks (`output.py`).
"""

from dataclasses import dataclass, field

import numpy as np

from hetero.batch import LongArray, RowSampling
from hetero.engine.requests import Leaving
from hetero.types import SamplingParams


@dataclass(slots=True, eq=False)
class Sequence:
    """`token_ids` are the prompt's and the completion's so far; the first `cached` of them are in the KV cache.

    `arrival` orders requests by their submission. `in_flight`: a batch with this sequence has not returned. `doomed`:
    it ended while in flight, and is released when its batch returns. `leaving`: what an exit may do for its tokens.
    """

    request_id: str
    arrival: int
    prompt_tokens: int
    token_ids: list[int]
    sampling: SamplingParams
    seed: int
    cached: int = 0
    blocks: list[int] = field(default_factory=list)
    slot: int = -1
    in_flight: bool = False
    doomed: bool = False
    leaving: Leaving = field(default_factory=Leaving)
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.sampling.repetition_penalty != 1.0:
            self._seen.update(self.token_ids)

    @property
    def completion_tokens(self) -> int:
        return len(self.token_ids) - self.prompt_tokens

    @property
    def pending(self) -> int:
        """Tokens that are known but not in the cache: 1 while decoding, more while prefilling."""
        return len(self.token_ids) - self.cached

    def append(self, token_id: int) -> None:
        self.token_ids.append(token_id)
        if self.sampling.repetition_penalty != 1.0:
            self._seen.add(token_id)

    @property
    def room_for_drafts(self) -> int:
        """Drafts that may follow the next step: none is ever cached beyond what the request may have."""
        if not self.leaving.drafts:
            return 0
        return max(0, self.sampling.max_tokens - self.completion_tokens - 1)

    def row_sampling(self, draft_limit: int, draft_confidence: float) -> RowSampling:
        """How the token after all known ones is sampled; its position is its index in the sequence."""
        asked = self.sampling
        return RowSampling(
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            seed=self.seed,
            position=len(self.token_ids),
            logprobs=-1 if asked.logprobs is None else asked.logprobs,
            seen=self._seen_ids(),
            private_clip=asked.private_clip,
            draft_limit=draft_limit,
            draft_confidence=draft_confidence if draft_limit else 0.0,
            exit_threshold=self.leaving.threshold,
            audited=self.leaving.audited,
        )

    def _seen_ids(self) -> LongArray | None:
        if self.sampling.repetition_penalty == 1.0:
            return None
        return np.fromiter(self._seen, np.int64, len(self._seen))
