"""The first stage's part of drafting: early blocks and their exit head in turn, until every row has its drafts.

A row whose exit is taken at its word drafts until the exit is not sure, or its limit is reached; then the exit may
still say the token after them. Its drafts wait here, as hidden states, for the blocks that run them all at once.

Knows compiled slices and one batch; who verifies is `worker.py` on the last stage, how long drafts are is the engine's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hetero.backends.base import CompiledSlice, SliceReport, SliceSpec
from hetero.batch import Batch, DecodeBatch, FloatArray, IntArray, LongArray, RowSampling
from hetero.engine.drafts import NO_DRAFT, last_word, later, with_drafts
from hetero.engine.sampler import sample
from hetero.exits.drafting_heads import ExitMap, read_map
from hetero.models.config import DecoderConfig
from hetero.models.config_reader import read_config


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a stage's blocks gave for `batch`, into which `drafts` int64 [R, K] were put where there are some.

    `rows`: how the batch's rows asked to be sampled before that.
    """

    batch: Batch
    hidden: FloatArray
    drafts: LongArray | None
    rows: tuple[RowSampling, ...] = ()


class Drafter:
    """A stage's slice that drafts with `blocks`, from block 0 on, and `head`, a slice without blocks that ends in an
    exit head, behind the trained `exit_map` where there is one. `rest` are the stage's blocks after those."""

    def __init__(
        self, blocks: CompiledSlice, head: CompiledSlice, rest: CompiledSlice | None, exit_map: ExitMap | None = None
    ) -> None:
        self._blocks = blocks
        self._map = exit_map
        self._head = head
        self._rest = rest
        self.report = _joined([each.report for each in (blocks, head, rest) if each is not None])

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        """The stage's blocks without drafts; see `CompiledSlice`."""
        out = self._blocks.run(batch, hidden)
        return out if self._rest is None else self._rest.run(batch, out)

    def run_drafting(self, batch: DecodeBatch) -> Drafted:
        """Draft as `batch` asks, then the stage's other blocks for it and its drafts together."""
        if not any(row.draft_limit or row.exit_threshold for row in batch.sampling):
            return Drafted(batch, self.run(batch, None), None)
        drafted = self._draft(batch)
        if self._rest is None:
            return drafted
        return replace(drafted, hidden=self._rest.run(drafted.batch, drafted.hidden))

    def _draft(self, batch: DecodeBatch) -> Drafted:
        """Run `batch`, then a token at a time for the rows that still draft."""
        hidden = self._blocks.run(batch, None).copy()
        limits, words = _limits(batch)
        drafts = np.full((len(words), int(words.max(initial=0))), NO_DRAFT, np.int64)
        pieces, owners = [hidden], []
        active, last = np.arange(len(words)), hidden[batch.sample_rows]
        for step in range(drafts.shape[1]):
            kept = words[active] > step
            active, last = active[kept], last[kept]
            tokens, sure = self._propose(batch, active, last, drafts[:, :step])
            active, tokens = active[sure], tokens[sure]
            runs = limits[active] > step
            drafts[active, step] = np.where(runs, tokens, last_word(tokens))
            active, tokens = active[runs], tokens[runs]
            if not len(active):
                break
            last = self._blocks.run(_one_token_each(batch, active, tokens, step), None).copy()
            pieces.append(last)
            owners.append(active)
        whole = with_drafts(batch, drafts)
        return Drafted(whole, _in_order(batch, whole, drafts, pieces, owners), drafts, batch.sampling)

    def _propose(
        self, batch: DecodeBatch, active: LongArray, hidden: FloatArray, before: LongArray
    ) -> tuple[LongArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """The exit's token for each active row, and whether the exit is sure enough of it."""
        if not len(active):
            return np.empty(0, np.int64), np.empty(0, np.bool_)
        # The head looks at no position: the rows' own have blocks for sure.
        rows = _one_token_each(batch, active, np.zeros(len(active), np.int64), -1)
        logits = self._head.run(rows, hidden if self._map is None else self._map.apply(hidden))
        known = [(batch.sampling[row], before[row].tolist()) for row in active]
        sampling = [replace(later(row, drafts), logprobs=-1) for row, drafts in known]
        tokens = np.array([token.token_id for token in sample(logits, sampling)], np.int64)
        return tokens, _top_probability(logits) >= [row.exit_threshold or row.draft_confidence for row in sampling]

    def close(self) -> None:
        for each in (self._blocks, self._head, self._rest):
            if each is not None:
                each.close()


def compile_drafter(spec: SliceSpec, compile_slice: Callable[[SliceSpec], CompiledSlice]) -> Drafter:
    """The pieces of a stage that drafts after `spec.draft_depth` blocks, on one device.

    Raises ModelError or BackendError, also where the exits beside the model are another's.
    """
    config = read_config(spec.folder)
    end = config.block_count
    exit_map = read_map(spec.folder, config, spec.draft_depth) if isinstance(config, DecoderConfig) else None
    plain = replace(spec, draft_depth=0)
    blocks = compile_slice(replace(plain, last=spec.draft_depth))
    head = compile_slice(replace(plain, first=end, last=end))
    rest = compile_slice(replace(plain, first=spec.draft_depth)) if spec.draft_depth < spec.last else None
    return Drafter(blocks, head, rest, exit_map)


def _joined(reports: Sequence[SliceReport]) -> SliceReport:
    """One report of all pieces."""
    return replace(
        reports[0],
        weight_bytes=sum(report.weight_bytes for report in reports),
        kv_bytes=sum(report.kv_bytes for report in reports),
        compile_seconds=sum(report.compile_seconds for report in reports),
    )


def _limits(batch: DecodeBatch) -> tuple[IntArray, IntArray]:
    """How many drafts each row may run, and how many tokens its exit may say: one more at its word."""
    limits = np.array([row.draft_limit for row in batch.sampling], np.int32)
    return limits, limits + np.array([row.exit_threshold > 0 for row in batch.sampling], np.int32)


def _top_probability(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities: FloatArray = 1 / np.exp(shifted).sum(axis=1)
    return probabilities


def _one_token_each(batch: DecodeBatch, rows: LongArray, tokens: LongArray, step: int) -> DecodeBatch:
    """A batch of the sequences of `rows`, each with the draft that follows `step` earlier ones; -1: the row."""
    owners = np.searchsorted(batch.begins, batch.sample_rows[rows], side="right") - 1
    count = len(rows)
    blocks = [batch.block_indices[batch.block_begins[i] : batch.block_begins[i + 1]] for i in owners]
    return DecodeBatch(
        batch.batch_id,
        token_ids=tokens,
        positions=batch.positions[batch.sample_rows[rows]] + step + 1,
        past_lens=(batch.past_lens[owners] + np.diff(batch.begins)[owners] + step).astype(np.int32),
        begins=np.arange(count + 1, dtype=np.int32),
        block_indices=np.concatenate(blocks),
        block_begins=_begins(blocks),
        slots=batch.slots[owners],
        sample_rows=np.arange(count),
        sampling=(),
    )


def _begins(blocks: Sequence[IntArray]) -> IntArray:
    return np.cumsum([0, *map(len, blocks)]).astype(np.int32)


def _in_order(
    batch: DecodeBatch,
    whole: DecodeBatch,
    drafts: LongArray,
    pieces: Sequence[FloatArray],
    owners: Sequence[LongArray],
) -> FloatArray:
    """The rows of all steps as `whole` lays them out: each row's drafts behind it."""
    if not owners:
        return pieces[0]
    ordered = np.empty((len(whole.token_ids), pieces[0].shape[1]), np.float32)
    extra = (drafts > NO_DRAFT).sum(axis=1)
    shifts = np.zeros(len(batch.token_ids), np.int64)
    shifts[batch.sample_rows] = extra
    places = np.arange(len(shifts)) + np.cumsum(shifts) - shifts
    ordered[places] = pieces[0]
    for step, (rows, piece) in enumerate(zip(owners, pieces[1:], strict=True)):
        ordered[places[batch.sample_rows[rows]] + step + 1] = piece
    return ordered
