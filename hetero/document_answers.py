"""Questions that a server answers from a folder of private documents, one after another.

Finds the documents, makes the prompts, draws the tokens by a policy's mechanism. Knows neither messages nor budgets:
who asks for an answer has charged the documents' budget before, durably (`hetero.server.governed`).
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock

from hetero.batch import SampledToken
from hetero.confinement import Confinement
from hetero.corpus import Corpus, read_corpus
from hetero.document_prompts import prompts_of, question_of
from hetero.documents import DocumentWriter
from hetero.engine.output import Output
from hetero.engine.requests import Event as OutputEvent
from hetero.errors import (
    CancelledRequestError,
    InvalidRequestError,
    OverloadedError,
    PromptTooLongError,
)
from hetero.prompts import Prompt
from hetero.streams import join_chunks
from hetero.types import Chunk, SamplingParams
from hetero.validation import check_private, check_sampling
from placement.types import Plan
from privacy.mechanisms import DocumentTokens, mechanism_for
from privacy.types import MechanismSpec

#: Questions that may wait for the one that is answered; more are refused, before they are charged.
MAX_WAITING = 16


@dataclass(slots=True)
class Patience:
    """How long whoever asked waits: until `given_up`, or `until_seconds` on the clock `time.monotonic`."""

    given_up: Event
    until_seconds: float | None = None

    def check(self) -> None:
        """Raise CancelledRequestError once that is over."""
        late = self.until_seconds is not None and time.monotonic() >= self.until_seconds
        if late or self.given_up.is_set():
            raise CancelledRequestError("the question was given up, or its deadline has passed")


class DocumentAnswers:
    """Answers from `corpus` by `writer`, whose mechanism covers the most documents that any rule retrieves.

    Safe to use from several threads. The writer stays the caller's to close, after this.
    """

    def __init__(self, corpus: Corpus, writer: DocumentWriter) -> None:
        self._corpus, self._writer = corpus, writer
        self._lane = ThreadPoolExecutor(1, "documents")
        self._lock, self._asked = Lock(), 0

    @property
    def document_count(self) -> int:
        return len(self._corpus)

    @property
    def plan(self) -> Plan:
        return self._writer.plan

    def check(self, prompt: Prompt, sampling: SamplingParams, mechanism: DocumentTokens) -> None:
        """Raise what a question is refused with: a function of itself and of the queue, never of a document.

        InvalidRequestError, PromptTooLongError or OverloadedError; nothing is to be charged then.
        """
        question_of(prompt)
        check_sampling(private_parameters(sampling, mechanism), self._writer.vocabulary_size)
        (alone,) = prompts_of(self._writer.tokenizer, prompt, (), 0, 0, self._writer.vocabulary_size)
        if len(alone) + sampling.max_tokens > self._writer.context:
            raise PromptTooLongError(
                f"the question has {len(alone)} tokens, which with {sampling.max_tokens} of the answer exceed the "
                f"context of {self._writer.context}; shorten it, ask for fewer, or serve with a longer context"
            )
        with self._lock:
            if self._asked > MAX_WAITING:
                raise OverloadedError(f"{self._asked} questions wait already; ask again later")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A question's place among those that may wait, held until its answer leaves and not just until it is written:
        when a place becomes free would else tell how long the writing took."""
        with self._lock:
            self._asked += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1

    def submit(
        self, prompt: Prompt, sampling: SamplingParams, mechanism: DocumentTokens, patience: Patience
    ) -> "Future[Chunk]":
        """The whole answer as one chunk, to a question that was checked and charged for all of its `max_tokens`."""
        return self._lane.submit(self._answer, prompt, sampling, mechanism, patience)

    def _answer(self, prompt: Prompt, sampling: SamplingParams, mechanism: DocumentTokens, patience: Patience) -> Chunk:
        patience.check()
        writer = self._writer
        found = self._corpus.best(question_of(prompt), mechanism.documents)
        room = writer.context - sampling.max_tokens
        ids = prompts_of(writer.tokenizer, prompt, found, mechanism.documents, room, writer.vocabulary_size)
        chunks: list[Chunk] = []

        def keep(event: OutputEvent) -> None:
            if isinstance(event, Chunk):
                chunks.append(event)

        ends = {*(() if sampling.ignore_eos else writer.ends), *sampling.stop_token_ids}
        output = Output("documents", sampling, writer.tokenizer, ends, keep, prompt_ids=ids[0])
        for token_id in writer.tokens(ids, mechanism):
            if output.accept(SampledToken(token_id)) is not None:
                break
            patience.check()
        return join_chunks(chunks)

    def close(self) -> None:
        """Answer nothing more; waits for the question in progress."""
        self._lane.shutdown(cancel_futures=True)


def private_parameters(sampling: SamplingParams, mechanism: DocumentTokens) -> SamplingParams:
    """What was asked for, at the policy's temperature. Raises InvalidRequestError for what would tell more."""
    if sampling.temperature not in (0.0, mechanism.temperature):
        raise InvalidRequestError("the policy sets the temperature of a private completion; leave it out")
    private = replace(sampling, temperature=mechanism.temperature)
    check_private(private)
    return private


def mechanisms_of(specs: Iterable[MechanismSpec | None]) -> tuple[DocumentTokens, ...]:
    """The mechanisms for documents among those that rules name."""
    made = (mechanism_for(spec) for spec in specs if spec is not None)
    return tuple(each for each in made if isinstance(each, DocumentTokens))


@contextmanager
def answering(
    model: str,
    folder: Path,
    mechanisms: Sequence[DocumentTokens],
    *,
    plan: str | None = None,
    context: int | None = None,
    confinement: Confinement | None = None,
) -> Iterator[DocumentAnswers]:
    """Answers of `model` from the documents in `folder`, by whichever of `mechanisms` a decision names.

    `mechanisms` has one at least. Raises ConfigurationError where there are no documents, and what `DocumentWriter`
    raises.
    """
    corpus, most = read_corpus(folder), max(mechanisms, key=lambda each: each.documents)
    with DocumentWriter(model, most, plan, context, confinement) as writer:
        answers = DocumentAnswers(corpus, writer)
        try:
            yield answers
        finally:
            answers.close()
