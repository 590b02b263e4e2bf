"""Completions on their way: submission and cancellation from any thread, steps on the engine's.

Knows requests, the scheduler and outputs; neither the pipeline nor the loop (`engine.py`).
"""

import itertools
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from hetero.batch import BatchResult, DecodeBatch, SampledToken
from hetero.engine.assembly import assemble
from hetero.engine.detokenizer import TextDecoder
from hetero.engine.inbox import Inbox
from hetero.engine.output import Output, Stopwatch
from hetero.engine.requests import GenerateRequest, Sink
from hetero.engine.roster import Job, Roster
from hetero.engine.scheduler import Scheduler, Turn
from hetero.engine.sequence import Sequence
from hetero.engine.settings import EngineSettings, EngineStats
from hetero.engine.work import error_of, fresh
from hetero.errors import (
    BackendError,
    CancelledRequestError,
    HeteroError,
    InvalidRequestError,
    PromptTooLongError,
)
from hetero.models.config import DecoderConfig
from hetero.types import FinishReason, SamplingParams
from hetero.validation import check_length, check_sampling, check_token_ids

logger = logging.getLogger(__name__)

#: Bits of a drawn seed: JSON's numbers hold them exactly.
SEED_BITS = 53


@dataclass(slots=True)
class Counts:
    """Counts since the start, written by the engine's thread alone."""

    steps: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    computed_tokens: int = 0


class Generation:
    """The work of a decoder."""

    def __init__(
        self, inbox: Inbox, decoder: TextDecoder, model: DecoderConfig, settings: EngineSettings, micro_batches: int
    ) -> None:
        self._inbox = inbox
        self._decoder = decoder
        self._model = model
        self._settings = settings
        self._scheduler = Scheduler(settings, micro_batches)
        self._roster = Roster(settings.max_waiting)
        self._jobs: dict[Sequence, Job] = {}
        self._deadlines: dict[Job, float] = {}
        self._counts = Counts()
        self._arrivals = itertools.count()
        self._batch_ids = itertools.count(1)
        self._in_flight: dict[int, tuple[Turn, ...]] = {}

    # From any thread

    def submit(self, request: GenerateRequest, sink: Sink) -> None:
        """Queue a request. Raises InvalidRequestError, PromptTooLongError or OverloadedError; nothing is kept then."""
        self._check(request)
        job = self._job(request, sink, time.monotonic())
        self._roster.enter(job, partial(self._inbox.put, partial(self._add, job)))

    def cancel(self, request_id: str) -> None:
        """End a request with CancelledRequestError; one that is unknown or has ended is left alone."""
        job = self._roster.find(request_id)
        if job is None:
            return
        error = CancelledRequestError(f"request {request_id} was cancelled")
        # Once the inbox is closed, every request ends by itself.
        with suppress(HeteroError):
            self._inbox.put(partial(self._fail, job, error))

    def stats(self) -> EngineStats:
        scheduler, counts = self._scheduler, self._counts
        running = sum(not sequence.doomed for sequence in tuple(scheduler.running))
        return EngineStats(
            running=running,
            waiting=max(0, len(self._roster) - running),
            batches_in_flight=len(self._in_flight),
            free_blocks=scheduler.blocks.free,
            total_blocks=scheduler.blocks.total,
            steps=counts.steps,
            preemptions=scheduler.preemptions,
            finished=counts.finished,
            failed=counts.failed,
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.completion_tokens,
            computed_tokens=counts.computed_tokens,
        )

    def _check(self, request: GenerateRequest) -> None:
        prompt_tokens, sampling = len(request.token_ids), request.sampling
        check_sampling(sampling, self._model.vocabulary_size)
        check_token_ids("the prompt", request.token_ids, self._model.vocabulary_size)
        if prompt_tokens == 0:
            raise InvalidRequestError("the prompt has no tokens; give at least one")
        context = self._settings.max_context
        _check_fits(prompt_tokens, sampling.max_tokens, check_length(prompt_tokens, context), f"context of {context}")
        # The last token is told, not computed, so it needs no place in the cache.
        cache = self._settings.block_count * self._settings.block_tokens
        _check_fits(prompt_tokens, sampling.max_tokens, cache - prompt_tokens + 1, f"KV cache of {cache}")

    def _job(self, request: GenerateRequest, sink: Sink, now: float) -> Job:
        sampling, prompt = request.sampling, list(request.token_ids)
        seed = secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed
        return Job(
            Sequence(request.request_id, next(self._arrivals), len(prompt), prompt, sampling, seed),
            Output(request.request_id, sampling, self._decoder, self._end_ids(sampling), sink),
            Stopwatch(now),
            None if request.deadline_seconds is None else now + request.deadline_seconds,
        )

    def _end_ids(self, sampling: SamplingParams) -> set[int]:
        own = () if sampling.ignore_eos else self._model.eos_token_ids
        return {*own, *sampling.stop_token_ids}

    # On the engine's thread

    @property
    def busy(self) -> bool:
        return self._scheduler.busy

    def expire(self) -> None:
        now = time.monotonic()
        for job in [job for job, deadline in self._deadlines.items() if deadline <= now]:
            self._fail(job, CancelledRequestError(f"the deadline of request {job.sequence.request_id} has passed"))

    def schedule(self) -> DecodeBatch | None:
        turns = self._scheduler.schedule()
        if not turns:
            return None
        now = time.monotonic()
        for turn in turns:
            self._start(self._jobs[turn.sequence], now)
        batch = assemble(next(self._batch_ids), turns, self._settings.block_tokens)
        self._in_flight[batch.batch_id] = turns
        self._counts.steps += 1
        self._counts.computed_tokens += len(batch.token_ids)
        return batch

    def postprocess(self, result: BatchResult) -> None:
        turns = self._in_flight.pop(result.batch_id)
        error = error_of(result)
        sampling = [turn for turn in turns if turn.samples]
        if error is None and len(result.tokens) != len(sampling):
            error = BackendError(f"the last stage gave {len(result.tokens)} tokens for {len(sampling)} rows")
        for turn in turns:
            self._scheduler.complete(turn)
        if error is not None:
            self._fail_turns(turns, error)
            return
        now = time.monotonic()
        for turn, token in zip(sampling, result.tokens, strict=True):
            if not turn.sequence.doomed:
                self._accept(self._jobs[turn.sequence], token, now)

    def fail_all(self, error: HeteroError) -> None:
        for job in self._roster.everyone():
            self._fail(job, error)

    def abandon(self) -> None:
        for turns in self._in_flight.values():
            for turn in turns:
                self._scheduler.complete(turn)
        self._in_flight.clear()

    def _add(self, job: Job) -> None:
        self._scheduler.add(job.sequence)
        self._jobs[job.sequence] = job
        if job.deadline_seconds is not None:
            self._deadlines[job] = job.deadline_seconds

    def _start(self, job: Job, now: float) -> None:
        job.watch.start(now)
        if self._roster.start(job):
            self._counts.prompt_tokens += job.sequence.prompt_tokens

    def _accept(self, job: Job, token: SampledToken, now: float) -> None:
        job.sequence.append(token.token_id)
        job.watch.token(now)
        self._counts.completion_tokens += 1
        try:
            reason = job.output.accept(token)
        except Exception as error:
            logger.exception("the text of request %s failed", job.sequence.request_id)
            self._fail(job, HeteroError(f"the text of request {job.sequence.request_id} failed: {error}"))
            return
        if job.output.deaf:
            self._fail(job, CancelledRequestError("the receiver of the completion failed"))
        elif reason is not None:
            self._finish(job, reason)

    def _finish(self, job: Job, reason: FinishReason) -> None:
        self._end(job)
        self._counts.finished += 1
        job.output.finish(job.sequence.prompt_tokens, reason, job.watch.timings(), job.sequence.seed)

    def _fail_turns(self, turns: tuple[Turn, ...], error: HeteroError) -> None:
        for turn in turns:
            if not turn.sequence.doomed:
                self._fail(self._jobs[turn.sequence], error)

    def _fail(self, job: Job, error: HeteroError) -> None:
        if job.ended:
            return
        self._end(job)
        self._counts.failed += 1
        job.output.fail(fresh(error))

    def _end(self, job: Job) -> None:
        """Free what the request holds and forget it, before its last event: who sees that one sees blocks free."""
        self._scheduler.remove(job.sequence)
        self._deadlines.pop(job, None)
        del self._jobs[job.sequence]
        self._roster.leave(job)


def _check_fits(prompt_tokens: int, max_tokens: int, room: int, place: str) -> None:
    if max_tokens > room:
        raise PromptTooLongError(
            f"{prompt_tokens} tokens of prompt and max_tokens {max_tokens} do not fit the {place} tokens; "
            "ask for fewer or shorten the prompt"
        )
