"""One model, running: the calls that a script or a notebook makes, and those that the server is built on.

Knows what a caller asks and what the engine answers; `starting.py` knows how the parts come up.
"""

import atexit
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptive.modes import AdaptiveChoice
from hetero.backends.base import SliceReport
from hetero.batch import FloatArray
from hetero.confinement import Confinement
from hetero.describing import describe
from hetero.encoding import Vectors, class_scores, submit_texts
from hetero.engine.requests import Event, Failed, GenerateRequest, Leaving, Sink
from hetero.engine.settings import EngineStats
from hetero.errors import UnavailableError
from hetero.exits.control import Limits
from hetero.exits.opening import Wish
from hetero.progress import ProgressCallback, ignore
from hetero.prompts import Prompt, tokenize
from hetero.purposes import require_classifier, require_decoder, require_embedder
from hetero.runtime_settings import RuntimeSettings
from hetero.starting import start_parts
from hetero.streams import CompletionStream, Ending
from hetero.types import Chunk, ClassScores, Completion, ModelInfo, SamplingParams
from hetero.validation import check_length, check_sampling, merge_options
from placement.types import Device, Plan


class Runtime:
    """Runs `model` (a folder, a hub id or "tiny") on the stages of a plan, until `close`.

    `plan` is a plan's text (``cpu/openvino:0-2,npu:2-4``), a `Plan`, None for the best single device, or ``auto``
    (or ``auto:throughput``) for the best by what `hetero profile` measured, kept if it beats one device in a trial.
    `precision` holds for every stage that names none. `context` bounds the tokens of prompt and completion
    together; None is the model's own, at most 4096. `address` is a Ray cluster's; None starts one here, or joins
    that of this job. With `in_process` the stages are threads of this process and Ray is not used. `kv_blocks` (of
    32 tokens) or `kv_memory_bytes` (a device) bound the KV cache, else a share of free memory does. `micro_batches`
    is how many batches are in flight at most; 0: one for each device of the plan. `threads` bounds each stage's CPU
    threads; 0: all of its node. `cache` is the folder of profiles. `confinement` is what a policy demands of devices
    and of Ray. `exits` and `draft_depth`: see `RuntimeSettings`. `on_progress` is told of every step of the start.

    Raises ModelError, ConfigurationError, BackendError or placement.PlacementError; nothing is left running then.
    """

    def __init__(
        self,
        model: str | Path,
        plan: str | Plan | None = None,
        *,
        precision: str | None = None,
        context: int | None = None,
        address: str | None = None,
        max_sequences: int = 16,
        kv_blocks: int | None = None,
        kv_memory_bytes: int | None = None,
        max_batch_tokens: int = 512,
        max_waiting: int = 256,
        micro_batches: int = 0,
        threads: int = 0,
        in_process: bool = False,
        cache: Path | None = None,
        confinement: Confinement | None = None,
        exits: Wish = "auto",
        draft_depth: int | None = None,
        on_progress: ProgressCallback = ignore,
    ) -> None:
        settings = RuntimeSettings(
            plan=plan,
            precision=precision,
            context_tokens=context,
            address=address,
            max_sequences=max_sequences,
            kv_blocks=kv_blocks,
            kv_memory_bytes=kv_memory_bytes,
            max_batch_tokens=max_batch_tokens,
            max_waiting=max_waiting,
            micro_batches=micro_batches,
            threads=threads,
            in_process=in_process,
            cache=cache,
            confinement=confinement,
            exits=exits,
            draft_depth=draft_depth,
        )
        self.model = str(model)
        self._closing = threading.Lock()
        with ExitStack() as undo:
            self._parts = start_parts(self.model, settings, on_progress, undo)
            self._undo = undo.pop_all()
        self._closed = False
        atexit.register(self.close)

    def generate(self, prompt: Prompt, sampling: SamplingParams | None = None, **options: Any) -> Completion:
        """The whole completion of `prompt`; options as for `stream`."""
        return self.stream(prompt, sampling, **options).result()

    def stream(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None = None,
        *,
        timeout: float | None = None,
        adaptive: AdaptiveChoice | None = None,
        **options: Any,
    ) -> CompletionStream:
        """The completion of `prompt` (text, token ids or messages), chunk by chunk; closing it cancels the request.

        `options` are fields of SamplingParams, laid over `sampling`. `timeout` is in seconds. A completion that reaches
        the context's end stops there, like one that reaches `max_tokens`. `adaptive`: what an exit may do for it.
        Raises InvalidRequestError (PromptTooLongError) at once; while reading OverloadedError, StageLostError,
        CancelledRequestError.
        """
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        request_id = uuid.uuid4().hex
        self.submit(request_id, self.tokenize(prompt), merge_options(sampling, options), events.put, timeout, adaptive)
        return CompletionStream(self._items(events), lambda: self.cancel(request_id))

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """One vector for each text, float32 [N, D], pooled and normalised as the model's folder says.

        Raises InvalidRequestError where the model does not embed, or `texts` is empty.
        """
        return self.submit_embedding(texts).result()

    def classify(self, texts: Sequence[str], adaptive: AdaptiveChoice | None = None) -> list[ClassScores]:
        """Each text's probabilities over the labels; `adaptive`: may it stop at an exit, and at what risk?"""
        found = self.submit_classification(texts, adaptive)
        return class_scores(found.result(), self.info.labels, found.depths.tolist())

    def devices(self) -> tuple[Device, ...]:
        """The devices that were found at the start, those that the plan does not use included."""
        return self._parts.devices

    @property
    def plan(self) -> Plan:
        return self._parts.plan

    @property
    def reports(self) -> tuple[SliceReport, ...]:
        """What really runs on each stage, as its engine says."""
        return self._parts.pipeline.reports

    @property
    def info(self) -> ModelInfo:
        return describe(self.model, self._parts)

    def stats(self) -> EngineStats:
        """The engine's counters at this moment."""
        return self._parts.engine.stats()

    def tokenize(self, prompt: Prompt, *, of_any_length: bool = False) -> tuple[int, ...]:
        """The prompt's token ids. Raises InvalidRequestError where it is empty or the model does not generate, and
        PromptTooLongError where no context can hold it, unless it may be `of_any_length`."""
        config = require_decoder(self.model, self._parts.config)
        most_tokens = None if of_any_length else self._parts.context_tokens
        return tokenize(self._parts.tokenizer, prompt, config.vocabulary_size, most_tokens)

    def submit(
        self,
        request_id: str,
        token_ids: tuple[int, ...],
        sampling: SamplingParams,
        sink: Sink,
        deadline_seconds: float | None = None,
        adaptive: AdaptiveChoice | Leaving | None = None,
    ) -> None:
        """Hand one request to the engine; `sink` gets its events on the engine's thread and must not block.

        `adaptive`: a request's choice; a `Leaving` is taken as it is, certified or not, for those who calibrate. Raises
        InvalidRequestError, PromptTooLongError or OverloadedError; then the sink gets nothing.
        """
        self._check_open()
        parts = self._parts
        check_sampling(sampling, parts.config.vocabulary_size)
        cut = replace(sampling, max_tokens=min(sampling.max_tokens, check_length(len(token_ids), parts.context_tokens)))
        request = GenerateRequest(request_id, token_ids, cut, deadline_seconds, parts.leaving(adaptive, sampling))
        parts.engine.submit(request, sink)

    def cancel(self, request_id: str) -> None:
        """End a request: its blocks are free within one step. One that has ended already is left alone."""
        if not self._closed:
            self._parts.engine.cancel(request_id)

    def submit_embedding(self, texts: Sequence[str]) -> Vectors:
        """Like `embed`, without waiting."""
        require_embedder(self.model, self._parts.config)
        return self._submit_texts(texts)

    def submit_classification(self, texts: Sequence[str], adaptive: AdaptiveChoice | None = None) -> Vectors:
        """Like `classify`, without waiting; gives the class logits and, once done, their depths."""
        require_classifier(self.model, self._parts.config)
        return self._submit_texts(texts, self._parts.exits.limits(adaptive))

    def submit_observation(self, texts: Sequence[str]) -> Vectors:
        """Class logits at full depth, and in `seen` what every exit gave; only under ``observe``."""
        return self._submit_texts(texts, self._parts.exits.observing())

    def close(self) -> None:
        """End the engine, the stages and the cluster connection, in this order; a second call does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._undo.close()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _items(self, events: "queue.SimpleQueue[Event]") -> Iterator[Chunk | Ending]:
        while True:
            event = events.get()
            if isinstance(event, Failed):
                raise event.error
            if not isinstance(event, Chunk):
                counts = event.prompt_tokens, event.completion_tokens
                yield Ending(*counts, event.finish_reason, event.timings, event.seed, self.plan)
                return
            yield event

    def _submit_texts(self, texts: Sequence[str], limits: Limits | None = None) -> Vectors:
        self._check_open()
        return submit_texts(self._parts.engine, self._parts.tokenizer, texts, self._parts.context_tokens, limits)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the runtime is closed; make a new one")
