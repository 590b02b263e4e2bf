"""Texts on their way through an encoder: a small dynamic batcher.

A batch is made whenever one may be in flight: the longest-waiting text and others of about its length, so that little
is padded. Lengths are padded to a few sizes, which engines that compile for a shape then meet again and again. Knows
token arrays and futures; neither the tokenizer nor what the vectors mean.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

import numpy as np

from hetero.batch import BatchResult, EncodeBatch, ExitRows, LongArray, row_ids
from hetero.engine.audits import Audits
from hetero.engine.encode_calls import Call, Text, Vectors
from hetero.engine.flights import Answer, Flights
from hetero.engine.inbox import Inbox
from hetero.engine.settings import EngineSettings, EngineStats
from hetero.engine.work import error_of, fresh
from hetero.errors import BackendError, HeteroError, InvalidRequestError, OverloadedError, PromptTooLongError
from hetero.exits.control import ExitControl, Limits
from hetero.models.config import EncoderConfig


def bucket(length: int, longest: int) -> int:
    """The padded length: the next of 16, 24, 32, 48, 64, 96, 128, ... but at most `longest`."""
    power = max(16, 1 << (length - 1).bit_length())
    three_quarters = power * 3 // 4
    return min(three_quarters if length <= three_quarters and power > 16 else power, longest)


class EncodeQueue:
    """The work of an encoder; `exits` counts depths and watches over answers that came from exits."""

    def __init__(
        self, inbox: Inbox, model: EncoderConfig, settings: EngineSettings, exits: ExitControl | None = None
    ) -> None:
        self._inbox = inbox
        self._model = model
        self._settings = settings
        self._longest = min(settings.max_context, model.max_context)
        self._waiting: deque[Text] = deque()
        self._lock = Lock()
        self._calls: set[Call] = set()
        self._flights: Flights[Text] = Flights()
        self._exits = exits
        self._audits = Audits(exits)
        self._batch_ids = itertools.count(1)
        self._steps = self._finished = self._failed = self._tokens = 0

    # From any thread

    def submit(
        self, token_ids: LongArray, attention_mask: LongArray, token_types: LongArray, limits: Limits | None = None
    ) -> Vectors:
        """Queue the texts of one call, each int64 [B, L], padded on the right where `attention_mask` is 0.

        The future gives float32 [B, D]; cancelling it drops the texts that are not in a batch yet. `limits`, one for
        each exit of the model, are where they may stop; None: nowhere.
        Raises InvalidRequestError, PromptTooLongError or OverloadedError.
        """
        self._check(token_ids, attention_mask, token_types)
        call = Call(Vectors(), len(token_ids), limits)
        lengths = attention_mask.sum(axis=1).tolist()
        texts = [Text(call, i, token_ids[i, :n].copy(), token_types[i, :n].copy()) for i, n in enumerate(lengths)]
        with self._lock:
            if len(self._calls) >= self._settings.max_waiting:
                raise OverloadedError(f"{len(self._calls)} calls are waiting already; try again later")
            self._inbox.put(partial(self._waiting.extend, texts))
            self._calls.add(call)
        return call.future

    def stats(self) -> EngineStats:
        waiting = {text.call for text in tuple(self._waiting)}
        return EngineStats(
            running=max(0, len(self._calls) - len(waiting)),
            waiting=len(waiting),
            batches_in_flight=len(self._flights),
            steps=self._steps,
            finished=self._finished,
            failed=self._failed,
            prompt_tokens=self._tokens,
            computed_tokens=self._tokens,
            exits=self._exits.status() if self._exits else None,
        )

    def _check(self, token_ids: LongArray, mask: LongArray, types: LongArray) -> None:
        if token_ids.ndim != 2 or token_ids.shape != mask.shape or token_ids.shape != types.shape or not mask.size:
            raise InvalidRequestError("an encoder wants three arrays of one shape, texts by tokens, none of them empty")
        lengths = mask.sum(axis=1)
        if not np.array_equal(mask, np.arange(mask.shape[1]) < lengths[:, None]) or not lengths.all():
            raise InvalidRequestError("each text needs at least one token, and its padding on the right")
        if lengths.max() > self._longest:
            raise PromptTooLongError(f"a text has {lengths.max()} tokens but the model reads {self._longest}; cut it")
        if token_ids.min() < 0 or token_ids.max() >= self._model.vocabulary_size:
            raise InvalidRequestError(f"token ids must be from 0 to {self._model.vocabulary_size - 1}")

    # On the engine's thread

    @property
    def busy(self) -> bool:
        return bool(self._calls) or bool(self._audits)

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def asks_exits(self) -> bool:
        """Whether the text that is next may stop at an exit."""
        return bool(self._waiting) and self._waiting[0].limits is not None

    def expire(self) -> None:
        """Calls have no deadline: their callers cancel the future. Drop those that did."""
        gone = {call for call in self._everyone() if call.future.cancelled()}
        if gone:
            self._drop(gone)

    def schedule(self) -> EncodeBatch | None:
        texts = self._choose()
        if not texts:
            return None
        batch = self._padded(next(self._batch_ids), texts)
        self._flights.begin(batch.batch_id, texts)
        self._steps += 1
        self._tokens += int(batch.attention_mask.sum())
        return batch

    def postprocess(self, result: BatchResult) -> None:
        error = error_of(result)
        if error is None and not self._flights.fits(result):
            error = BackendError("the stages did not give a vector for each of a batch's texts")
        if error is not None:
            self._fail({text.call for text in self._flights.end(result.batch_id)}, error)
            return
        for answer in self._flights.answered(result):
            self._deliver(answer)

    def fail_all(self, error: HeteroError) -> None:
        self._fail(self._everyone(), error)

    def abandon(self) -> None:
        self._flights.clear()

    def _choose(self) -> list[Text]:
        """The text that has waited longest and those behind it of the same padded length, as many as fit."""
        source = self._audits.texts if self._audits.due(len(self._waiting)) else self._waiting
        if not source:
            return []
        length = self._bucket(source[0])
        most = max(1, min(self._settings.max_sequences, self._settings.max_batch_tokens // length))
        chosen = list(itertools.islice((text for text in source if self._bucket(text) == length), most))
        taken = set(chosen)
        _keep(source, lambda text: text not in taken)
        return chosen

    def _bucket(self, text: Text) -> int:
        return bucket(len(text.token_ids), self._longest)

    def _padded(self, batch_id: int, texts: list[Text]) -> EncodeBatch:
        shape = (len(texts), self._bucket(texts[0]))
        token_ids = np.full(shape, self._model.pad_token_id, np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            length = len(text.token_ids)
            token_ids[row, :length], mask[row, :length], types[row, :length] = text.token_ids, 1, text.token_types
        return EncodeBatch(batch_id, token_ids, mask, types, self._exit_rows(batch_id, [text.limits for text in texts]))

    def _exit_rows(self, batch_id: int, limits: Sequence[Limits | None]) -> ExitRows | None:
        exits = next((len(each) for each in limits if each is not None), 0)
        if not exits:
            return None
        nowhere = (np.nan,) * exits
        rows = np.array([nowhere if each is None else each for each in limits], np.float32)
        seen = np.full((len(limits), exits, len(self._model.labels) + 1), np.nan, np.float32)
        return ExitRows(row_ids(batch_id, len(limits)), rows, seen)

    def _deliver(self, answer: Answer[Text]) -> None:
        text = answer.text
        if text.audited is not None:
            self._audits.compare(text.audited, answer.vector)
            return
        depth = self._model.block_count if answer.depth is None else answer.depth
        if self._exits is not None:
            self._exits.answered((depth,))
            self._audits.consider(text, answer.vector, depth < self._model.block_count)
        call = text.call
        if not call.take(text.index, answer, depth) or call not in self._calls:
            return
        self._leave({call})
        in_time = call.future.set_running_or_notify_cancel()
        self._finished += in_time
        self._failed += not in_time
        if in_time:
            call.finish()

    def _fail(self, calls: set[Call], error: HeteroError) -> None:
        for call in self._drop(calls):
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(fresh(error))

    def _drop(self, calls: set[Call]) -> set[Call]:
        """Forget the calls that end without vectors, and those of their texts that wait; returns the known ones."""
        known = calls & self._everyone()
        self._leave(known)
        _keep(self._waiting, lambda text: text.call not in known)
        self._failed += len(known)
        return known

    def _everyone(self) -> set[Call]:
        with self._lock:
            return set(self._calls)

    def _leave(self, calls: set[Call]) -> None:
        with self._lock:
            self._calls -= calls


def _keep(texts: deque[Text], wanted: Callable[[Text], bool]) -> None:
    """In place: the inbox's commands extend this very deque."""
    kept = [text for text in texts if wanted(text)]
    texts.clear()
    texts.extend(kept)
