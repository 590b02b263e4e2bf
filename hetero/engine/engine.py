"""The loop: schedule, run, postprocess, on a plain thread of its own, for one model on one pipeline.

Knows the pipeline's interface and the two kinds of work; neither tokens (`generation.py`), nor texts
(`encode_queue.py`), nor how stages run.
"""

import logging
import time
from dataclasses import replace
from threading import Thread

from hetero.batch import BatchResult, LongArray
from hetero.engine.detokenizer import TextDecoder
from hetero.engine.encode_calls import Vectors
from hetero.engine.encode_queue import EncodeQueue
from hetero.engine.generation import Generation
from hetero.engine.inbox import Inbox
from hetero.engine.requests import Event, Failed, Finished, GenerateRequest, Sink
from hetero.engine.settings import EngineSettings, EngineStats
from hetero.engine.work import Work
from hetero.errors import BackendError, CancelledRequestError, HeteroError, InvalidRequestError
from hetero.exits.control import ExitControl, Limits
from hetero.exits.token_exits import TokenExits
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.pipeline.base import Pipeline

__all__ = ["Engine", "EngineSettings", "EngineStats", "Event", "Failed", "Finished", "GenerateRequest", "Sink"]

logger = logging.getLogger(__name__)

#: How long to wait for a result before looking for new requests: short where another batch could go out.
POLL_SECONDS = 0.05
POLL_SECONDS_WITH_ROOM = 0.005
#: Rows that survive an exit are best run with those of other batches; what has left counts no longer.
MORE_WITH_EXITS = 12
#: How often an engine without work looks whether its stages are there: who asks for its health asks of them.
IDLE_SECONDS = 1.0
#: How long closing waits for the batches in flight, so that the pipeline is left empty.
DRAIN_SECONDS = 10.0


class Engine:
    """Serves requests on `pipeline`, which stays its maker's to close, after the engine.

    Batch errors end the requests in that batch; a lost stage ends all, and later ones are refused with its error.
    Raises ConfigurationError where the settings do not fit.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tokenizer: TextDecoder,
        model: ModelConfig,
        settings: EngineSettings,
        exits: ExitControl | TokenExits | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._inbox = Inbox()
        self._micro_batches = settings.micro_batches or pipeline.depth
        self._generation: Generation | None = None
        self._encoding: EncodeQueue | None = None
        self._work: Work
        if isinstance(model, DecoderConfig):
            of_tokens = exits if isinstance(exits, TokenExits) else None
            self._work = self._generation = Generation(
                self._inbox, tokenizer, model, settings, self._micro_batches, of_tokens
            )
        else:
            of_texts = exits if isinstance(exits, ExitControl) else None
            self._work = self._encoding = EncodeQueue(self._inbox, model, settings, of_texts)
        self._stage_seconds = [0.0] * pipeline.depth
        self._thread = Thread(target=self._run, name="hetero-engine", daemon=True)

    def start(self) -> None:
        """Start the thread; requests submitted before wait for it."""
        self._thread.start()

    def close(self) -> None:
        """End what is left with CancelledRequestError and join the thread; a second call does nothing."""
        self._inbox.close(CancelledRequestError("the engine is closed"))
        if self._thread.ident is None:
            self._end()
        else:
            self._thread.join()

    def submit(self, request: GenerateRequest, sink: Sink) -> None:
        """Queue a completion; `sink` gets its events, in order, on the engine's thread.

        Raises InvalidRequestError, PromptTooLongError or OverloadedError, after a lost stage StageLostError, after
        `close` CancelledRequestError; then the sink gets nothing.
        """
        if self._generation is None:
            raise InvalidRequestError("the model is an encoder and does not generate; ask it for vectors")
        self._generation.submit(request, sink)

    def cancel(self, request_id: str) -> None:
        """End a request with CancelledRequestError. Its blocks are free within one step; unknown ids are ignored."""
        if self._generation is not None:
            self._generation.cancel(request_id)

    def encode(
        self, token_ids: LongArray, attention_mask: LongArray, token_types: LongArray, limits: Limits | None = None
    ) -> Vectors:
        """Vectors of texts, each argument int64 [B, L]: a future of float32 [B, D] that can be cancelled.

        `limits`, one for each exit of the model: where the texts may stop; None: nowhere.

        Raises InvalidRequestError, PromptTooLongError or OverloadedError, after a lost stage StageLostError, after
        `close` CancelledRequestError.
        """
        if self._encoding is None:
            raise InvalidRequestError("the model is a decoder and gives no vectors; generate with it")
        return self._encoding.submit(token_ids, attention_mask, token_types, limits)

    def stats(self) -> EngineStats:
        return replace(self._work.stats(), stage_seconds=tuple(self._stage_seconds), failure=self._inbox.refusal)

    def step(self) -> None:
        """Schedule, run, postprocess: fill the pipeline, wait a little for a result, deal with it."""
        self._take_commands()
        self._fill()
        result = self._collect()
        if result is not None:
            self._work.postprocess(result)

    def _run(self) -> None:
        try:
            while self._inbox.refusal is None:
                self.step()
                if not self._work.busy and not self._work.in_flight:
                    self._rest()
        except HeteroError as error:
            self._refuse(error)
        except Exception as error:
            self._refuse(BackendError(f"the engine stopped at an unexpected error, {type(error).__name__}: {error}"))
        finally:
            self._end()

    def _rest(self) -> None:
        """Sleep until there is something to do. Raises StageLostError where a stage dies meanwhile."""
        while not self._inbox.wait(IDLE_SECONDS):
            self._pipeline.collect(0.0)

    def _refuse(self, error: HeteroError) -> None:
        logger.exception("the engine stops")
        self._inbox.close(error)

    def _take_commands(self) -> None:
        for command in self._inbox.take():
            command()
        self._work.expire()

    @property
    def _most(self) -> int:
        """How many batches may be in flight. Texts that ask no exit are better off waiting, then in full batches."""
        more = self._encoding is not None and self._encoding.asks_exits
        return self._micro_batches + (MORE_WITH_EXITS if more else 0)

    def _fill(self) -> None:
        while self._work.in_flight < self._most and (batch := self._work.schedule()) is not None:
            self._pipeline.submit(batch)

    def _collect(self) -> BatchResult | None:
        if not self._work.in_flight:
            return None
        has_room = self._work.in_flight < self._most
        result = self._pipeline.collect(POLL_SECONDS_WITH_ROOM if has_room else POLL_SECONDS)
        if result is not None:
            for stage, trace in enumerate(result.traces):
                self._stage_seconds[stage] += trace.ended_at_seconds - trace.started_at_seconds
        return result

    def _end(self) -> None:
        """After the inbox is closed: end every request, then let the batches in flight come back."""
        self._take_commands()
        self._work.fail_all(self._inbox.refusal or CancelledRequestError("the engine is closed"))
        try:
            self._drain()
        except Exception as error:
            logger.info("the batches in flight are given up: %s", error)
        self._work.abandon()

    def _drain(self) -> None:
        until = time.monotonic() + DRAIN_SECONDS
        while self._work.in_flight and time.monotonic() < until:
            result = self._collect()
            if result is not None:
                self._work.postprocess(result)
