"""From a request to the job that the engine works on: what is refused, and what a job starts with.

Knows the model's and the settings' limits; knows nothing of queues or steps.
"""

import itertools
import secrets

from adaptive.modes import ExitMode
from hetero.engine.detokenizer import TextDecoder
from hetero.engine.output import Output, Stopwatch
from hetero.engine.requests import GenerateRequest, Leaving, Sink
from hetero.engine.roster import Job
from hetero.engine.sequence import Sequence
from hetero.engine.settings import EngineSettings
from hetero.errors import InvalidRequestError, PromptTooLongError
from hetero.models.config import DecoderConfig
from hetero.types import SamplingParams
from hetero.validation import check_length, check_sampling, check_seconds, check_token_ids

#: Bits of a drawn seed: JSON's numbers hold them exactly.
SEED_BITS = 53


class Intake:
    """Makes jobs, numbered in the order of their arrival."""

    def __init__(self, decoder: TextDecoder, model: DecoderConfig, settings: EngineSettings) -> None:
        self._decoder = decoder
        self._model = model
        self._settings = settings
        self._arrivals = itertools.count()

    def check(self, request: GenerateRequest) -> None:
        """Raise InvalidRequestError or PromptTooLongError unless the engine can ever finish the request."""
        prompt_tokens, sampling = len(request.token_ids), request.sampling
        check_sampling(sampling, self._model.vocabulary_size)
        check_seconds("timeout", request.deadline_seconds)
        check_token_ids("the prompt", request.token_ids, self._model.vocabulary_size)
        if prompt_tokens == 0:
            raise InvalidRequestError("the prompt has no tokens; give at least one")
        context = self._settings.max_context
        _check_fits(prompt_tokens, sampling.max_tokens, check_length(prompt_tokens, context), f"context of {context}")
        # The last token is told, not computed, so it needs no place in the cache.
        cache = self._settings.block_count * self._settings.block_tokens
        _check_fits(prompt_tokens, sampling.max_tokens, cache - prompt_tokens + 1, f"KV cache of {cache}")

    def job(self, request: GenerateRequest, sink: Sink, now: float) -> Job:
        """The job of a request that was checked; `now` is on the clock `time.monotonic`."""
        sampling, prompt = request.sampling, request.token_ids
        ends = self._end_ids(sampling)
        return Job(
            self._sequence(request),
            Output(request.request_id, sampling, self._decoder, ends, sink, self._depths(), prompt),
            Stopwatch(now),
            None if request.deadline_seconds is None else now + request.deadline_seconds,
        )

    def _sequence(self, request: GenerateRequest) -> Sequence:
        """Drafts are sampled like the tokens that verify them, which a private token cannot be twice."""
        sampling, prompt = request.sampling, list(request.token_ids)
        seed = secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed
        drafts = bool(self._settings.draft_lengths) and not sampling.private_clip
        leaving = request.leaving or Leaving(ExitMode.VERIFY if drafts else ExitMode.OFF)
        arrival = next(self._arrivals)
        return Sequence(request.request_id, arrival, len(prompt), prompt, sampling, seed, leaving=leaving)

    def _depths(self) -> tuple[int, int] | None:
        depth = self._settings.draft_depth
        return (depth, self._model.block_count) if depth else None

    def _end_ids(self, sampling: SamplingParams) -> set[int]:
        own = () if sampling.ignore_eos else self._model.eos_token_ids
        return {*own, *sampling.stop_token_ids}


def _check_fits(prompt_tokens: int, max_tokens: int, room: int, place: str) -> None:
    if max_tokens > room:
        raise PromptTooLongError(
            f"{prompt_tokens} tokens of prompt and max_tokens {max_tokens} do not fit the {place} tokens; "
            "ask for fewer or shorten the prompt"
        )
