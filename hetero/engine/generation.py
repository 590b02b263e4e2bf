"""Completions on their way: submission and cancellation from any thread, steps on the engine's.

Knows requests, the scheduler and outputs; neither the pipeline nor the loop (`engine.py`).
"""

import itertools
import logging
import time
from collections.abc import Sequence as Items
from contextlib import suppress
from functools import partial

from hetero.batch import BatchResult, DecodeBatch, SampledToken
from hetero.engine.assembly import assemble
from hetero.engine.counts import Counts, runs_of
from hetero.engine.detokenizer import TextDecoder
from hetero.engine.draft_length import DraftLength
from hetero.engine.drafts import NO_DRAFT
from hetero.engine.inbox import Inbox
from hetero.engine.intake import Intake
from hetero.engine.requests import GenerateRequest, Sink
from hetero.engine.roster import Job, Roster
from hetero.engine.scheduler import Scheduler, Turn, no_drafts
from hetero.engine.sequence import Sequence
from hetero.engine.settings import EngineSettings, EngineStats
from hetero.engine.work import error_of, fresh
from hetero.errors import BackendError, CancelledRequestError, HeteroError
from hetero.exits.token_exits import TokenExits
from hetero.models.config import DecoderConfig
from hetero.types import FinishReason

logger = logging.getLogger(__name__)


class Generation:
    """The work of a decoder."""

    def __init__(
        self,
        inbox: Inbox,
        decoder: TextDecoder,
        model: DecoderConfig,
        settings: EngineSettings,
        micro_batches: int,
        exits: TokenExits | None = None,
    ) -> None:
        self._inbox = inbox
        self._intake = Intake(decoder, model, settings)
        self._settings = settings
        self._exits = exits or TokenExits(settings.draft_depth, model.block_count)
        self._scheduler = Scheduler(settings, micro_batches)
        self._roster = Roster(settings.max_waiting)
        self._jobs: dict[Sequence, Job] = {}
        self._deadlines: dict[Job, float] = {}
        self._counts = Counts()
        self._batch_ids = itertools.count(1)
        self._in_flight: dict[int, tuple[Turn, ...]] = {}
        self._told_early: dict[int, set[Turn]] = {}
        self._submitted_at: dict[int, float] = {}
        self._drafts = bool(settings.draft_lengths)
        self._draft_length = DraftLength(settings.draft_lengths)

    # From any thread

    def submit(self, request: GenerateRequest, sink: Sink) -> None:
        """Queue a request. Raises InvalidRequestError, PromptTooLongError or OverloadedError; nothing is kept then."""
        self._intake.check(request)
        job = self._intake.job(request, sink, time.monotonic())
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
            drafted_tokens=counts.drafted_tokens,
            accepted_drafts=counts.accepted_drafts,
            verifications=counts.verifications,
            exits=self._exits.status(counts.exit_tokens, counts.completion_tokens),
        )

    # On the engine's thread

    @property
    def busy(self) -> bool:
        return self._scheduler.busy

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def expire(self) -> None:
        now = time.monotonic()
        for job in [job for job, deadline in self._deadlines.items() if deadline <= now]:
            self._fail(job, CancelledRequestError(f"the deadline of request {job.sequence.request_id} has passed"))

    def schedule(self) -> DecodeBatch | None:
        turns = self._scheduler.schedule(self._draft_length.choose if self._drafts else no_drafts)
        if not turns:
            return None
        now = time.monotonic()
        for turn in turns:
            self._start(self._jobs[turn.sequence], now)
        batch = assemble(next(self._batch_ids), turns, self._settings.block_tokens, self._settings.draft_confidence)
        self._in_flight[batch.batch_id] = turns
        self._submitted_at[batch.batch_id] = now
        self._counts.steps += 1
        self._counts.computed_tokens += len(batch.token_ids)
        return batch

    def postprocess(self, result: BatchResult) -> None:
        if result.early:
            self._take_early(result)
            return
        turns, early = self._in_flight.pop(result.batch_id), self._told_early.pop(result.batch_id, set())
        seconds = time.monotonic() - self._submitted_at.pop(result.batch_id)
        error = error_of(result)
        sampling = [turn for turn in turns if turn.samples]
        runs = list(runs_of(result.tokens))
        if error is None and len(runs) != len(sampling):
            error = BackendError(f"the last stage gave tokens for {len(runs)} rows of {len(sampling)}")
        for turn in turns:
            if turn not in early:
                self._scheduler.complete(turn)
        if error is not None:
            self._fail_turns(turns, error)
            return
        self._learn(turns, runs, seconds)
        now = time.monotonic()
        for turn, tokens in zip(sampling, runs, strict=True):
            if turn not in early:
                self._accept_all(turn.sequence, tokens, now)

    def _take_early(self, result: BatchResult) -> None:
        """Tokens ahead of their batch: their sequences are free to go on, or to end and give back their blocks.

        Every stage takes batches in order, so what still fills those blocks comes before what is next put there.
        """
        sampling = [turn for turn in self._in_flight[result.batch_id] if turn.samples]
        told = [each for each in zip(sampling, runs_of(result.tokens), strict=True) if each[1][0].token_id != NO_DRAFT]
        self._told_early[result.batch_id] = {turn for turn, _ in told}
        now = time.monotonic()
        for turn, tokens in told:
            self._scheduler.complete(turn)
            self._accept_all(turn.sequence, tokens, now)

    def fail_all(self, error: HeteroError) -> None:
        for job in self._roster.everyone():
            self._fail(job, error)

    def abandon(self) -> None:
        for batch_id, turns in self._in_flight.items():
            for turn in set(turns) - self._told_early.get(batch_id, set()):
                self._scheduler.complete(turn)
        self._in_flight.clear()
        self._told_early.clear()
        self._submitted_at.clear()

    def _add(self, job: Job) -> None:
        self._scheduler.add(job.sequence)
        self._jobs[job.sequence] = job
        if job.deadline_seconds is not None:
            self._deadlines[job] = job.deadline_seconds

    def _start(self, job: Job, now: float) -> None:
        job.watch.start(now)
        if self._roster.start(job):
            self._counts.prompt_tokens += job.sequence.prompt_tokens

    def _learn(self, turns: tuple[Turn, ...], runs: Items[Items[SampledToken]], seconds: float) -> None:
        """What the step says of its drafts' length, where all its sequences could draft."""
        self._counts.drafts(runs)
        if self._drafts and all(turn.last - turn.first == 1 for turn in turns):
            self._draft_length.learn(
                len(turns), max(turn.drafts for turn in turns), seconds, [len(run) - 1 for run in runs]
            )

    def _accept_all(self, sequence: Sequence, tokens: Items[SampledToken], now: float) -> None:
        """The row's tokens until the completion ends; those that were drafted are in the cache already."""
        for token in tokens:
            if sequence.doomed or self._jobs.get(sequence) is None:
                return
            sequence.cached += token.accepted
            self._accept(self._jobs[sequence], token, now)

    def _accept(self, job: Job, token: SampledToken, now: float) -> None:
        job.sequence.append(token.token_id)
        job.watch.token(now)
        self._counts.token(token)
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
        sequence = job.sequence
        audited = sequence.leaving.audited
        if audited:
            self._exits.audited(sequence.leaving.mode, job.output.differing)
        job.output.finish(sequence.prompt_tokens, reason, job.watch.timings(), sequence.seed, audited)

    def _fail_turns(self, turns: tuple[Turn, ...], error: HeteroError) -> None:
        for turn in turns:
            job = self._jobs.get(turn.sequence)
            if job is not None and not turn.sequence.doomed:
                self._fail(job, error)

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
