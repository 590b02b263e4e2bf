"""Text about private documents: one prompt without any, one with each, all in step, and a token drawn from all of them.

Runs the model's slices in this process, for the engine gives out tokens and no logits. Knows batches and blocks; what
is drawn and what it costs is `privacy.mechanisms.DocumentTokens`'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, KvSpec
from hetero.batch import DecodeBatch, FloatArray, RowSampling
from hetero.capacity import BLOCK_TOKENS, blocks_for
from hetero.confinement import Confinement, check_trusted, sees_everything, trust_of
from hetero.devices import local_devices
from hetero.engine.detokenizer import text_after
from hetero.errors import InvalidRequestError, PromptTooLongError
from hetero.limits import choose_context
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.base import slice_specs
from hetero.planning import plan_model
from placement.types import Plan
from privacy.mechanisms import DocumentTokens
from privacy.types import Charge

#: Tokens of a prompt that go through the model at once.
PREFILL_TOKENS = 256


@dataclass(frozen=True, slots=True)
class PrivateText:
    """What was written, and what it cost: for as many tokens as were asked for, wherever the text ended."""

    text: str
    token_ids: tuple[int, ...]
    charge: Charge


class DocumentWriter:
    """Writes with `mechanism` on `model` (a folder, a hub id or "tiny"), at most `context` tokens a prompt and text
    (None: the model's own, within bounds).

    `plan` is a plan's text; its stages run one after another here. `confinement` is what a policy demands of devices.
    Raises ModelError, BackendError, InvalidRequestError for an encoder, or placement.PlacementError. Not for several
    threads at once.
    """

    def __init__(
        self,
        model: str,
        mechanism: DocumentTokens,
        plan: str | None = None,
        context: int | None = 512,
        confinement: Confinement | None = None,
    ) -> None:
        folder = resolve(model)
        config = read_config(folder)
        if not isinstance(config, DecoderConfig):
            raise InvalidRequestError(f"{model} is an encoder and does not write")
        wanted = None if context is None else min(context, config.max_context)
        self.context = choose_context(wanted, config.max_context)
        self.mechanism, self.ends = mechanism, config.eos_token_ids
        self.tokenizer, self.vocabulary_size = Tokenizer(folder), config.vocabulary_size
        sequences = mechanism.documents + 1
        kv = KvSpec(sequences * blocks_for(self.context), BLOCK_TOKENS, sequences, self.context)
        self.plan = _plan(folder, config, plan, sequences * self.context, confinement)
        self._slices: list[CompiledSlice] = []
        for stage, spec in zip(self.plan.stages, slice_specs(folder, self.plan, kv), strict=True):
            self._slices.append(get_backend(stage.engine).compile(spec))

    def write(self, public: str, private: Sequence[str], max_tokens: int) -> PrivateText:
        """A continuation of `public`, moved by `private`: the same prompt with one document each.

        Who reads the text learns of no single document more than the charge says. Its budget is the corpus', and it is
        to be charged before this is called: `mechanism.charge(max_tokens)`.
        Raises InvalidRequestError for too many documents, PromptTooLongError for a prompt that leaves no room.
        """
        sequences = [self.tokenizer.encode(prompt) for prompt in (public, *private)]
        self._check(sequences, max_tokens)
        written: list[int] = []
        for token_id in self.tokens(sequences, self.mechanism):
            written.append(token_id)
            if token_id in self.ends or len(written) == max_tokens:
                break
        shown = text_after(self.tokenizer, sequences[0], written)
        return PrivateText(shown, tuple(written), self.mechanism.charge(max_tokens))

    def tokens(self, sequences: Sequence[Sequence[int]], mechanism: DocumentTokens) -> Iterator[int]:
        """Tokens without end: whoever takes them knows how many fit the context behind the longest of `sequences`.

        The first is the public prompt, the others have one document each, as many as `self.mechanism` covers at most.
        """
        logits = np.concatenate([self._prefill(number, ids) for number, ids in enumerate(sequences)])
        lengths = [len(ids) for ids in sequences]
        while True:
            token_id = mechanism.sample(logits[0], logits[1:])
            yield token_id
            logits = self._step(list(range(len(lengths))), [[token_id]] * len(lengths), lengths)
            lengths = [length + 1 for length in lengths]

    def close(self) -> None:
        """Free the engines' memory."""
        for piece in self._slices:
            piece.close()

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check(self, sequences: Sequence[Sequence[int]], max_tokens: int) -> None:
        if len(sequences) - 1 > self.mechanism.documents:
            raise InvalidRequestError(f"the mechanism is for {self.mechanism.documents} documents; give no more")
        if max_tokens < 1:
            raise InvalidRequestError("max_tokens must be at least 1")
        if max(map(len, sequences)) + max_tokens > self.context:
            raise PromptTooLongError(f"a prompt and {max_tokens} tokens exceed the context of {self.context} tokens")

    def _prefill(self, number: int, ids: Sequence[int]) -> FloatArray:
        """The logits after the last token of one sequence, float32 [1, V]."""
        for begin in range(0, len(ids), PREFILL_TOKENS):
            logits = self._step([number], [ids[begin : begin + PREFILL_TOKENS]], [begin])
        return logits

    def _step(self, numbers: Sequence[int], tokens: Sequence[Sequence[int]], past: Sequence[int]) -> FloatArray:
        """Run the next tokens of some sequences; the logits after the last of each, float32 [S, V]."""
        batch = _batch(numbers, tokens, past, blocks_for(self.context))
        out: FloatArray | None = None
        for piece in self._slices:
            out = piece.run(batch, out).copy()
        assert out is not None, "a plan has at least one stage"
        return out


def _plan(folder: Path, config: ModelConfig, plan: str | None, kv_tokens: int, confinement: Confinement | None) -> Plan:
    """The plan on this machine's devices, legal by the policy's clearances where there are any."""
    devices = local_devices()
    if confinement is None:
        return plan_model(folder, config, devices, plan, kv_tokens=kv_tokens)
    trust = trust_of(confinement, devices, config)
    trusted = tuple(each for each in devices if sees_everything(each, trust, config.block_count))
    chosen = plan_model(folder, config, devices if plan else trusted or devices, plan, kv_tokens=kv_tokens)
    check_trusted(chosen, trust)
    return chosen


def _batch(numbers: Sequence[int], tokens: Sequence[Sequence[int]], past: Sequence[int], blocks: int) -> DecodeBatch:
    """One step: sequence s keeps the `blocks` blocks from s * blocks on."""
    counts = [len(ids) for ids in tokens]
    begins = np.array([0, *accumulate(counts)], np.int32)
    used = [blocks_for(done + count) for done, count in zip(past, counts, strict=True)]
    tables = [np.arange(count) + number * blocks for number, count in zip(numbers, used, strict=True)]
    places = [np.arange(done, done + count) for done, count in zip(past, counts, strict=True)]
    return DecodeBatch(
        batch_id=0,
        token_ids=np.concatenate([np.asarray(ids, np.int64) for ids in tokens]),
        positions=np.concatenate(places).astype(np.int64),
        past_lens=np.array(past, np.int32),
        begins=begins,
        block_indices=np.concatenate(tables).astype(np.int32),
        block_begins=np.array([0, *accumulate(used)], np.int32),
        slots=np.array(numbers, np.int32),
        sample_rows=(begins[1:] - 1).astype(np.int64),
        sampling=(RowSampling(),) * len(numbers),
    )
