"""Certified thresholds for a decoder's exit, from whole completions that its own tokens led to.

Each threshold is tried on the pipeline that will serve, as it will serve: what the exit says becomes the context of
what follows, and the keys and values behind it are filled by the same rule. Full depth says every token as well, given
the same context, and a completion's loss is the share of its tokens that differ. The thresholds are fixed beforehand,
so that every completion counts for the certificate. Knows the runtime; the statistics are `adaptive`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from adaptive.bounds import Bound
from adaptive.certify import certification_floor, certify, sequence_bounds
from adaptive.errors import CalibrationError
from adaptive.measures import Measure
from adaptive.modes import ExitMode
from adaptive.policy import NEVER, ExitPolicy
from adaptive.profile import profile_of
from adaptive.report import CalibrationReport
from hetero.engine.requests import Event as EngineEvent
from hetero.engine.requests import Failed, Finished, Leaving
from hetero.errors import HeteroError, InvalidRequestError
from hetero.exits.token_opening import token_fingerprint
from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config import DecoderConfig
from hetero.types import Chunk, SamplingParams

if TYPE_CHECKING:
    from hetero.runtime import Runtime

#: What the exit must give its likeliest token to be taken at its word, the safest first; the first takes none.
THRESHOLDS = (
    *(NEVER, 0.99, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5),
    *(0.45, 0.4, 0.37, 0.34, 0.31, 0.28, 0.25, 0.22, 0.2, 0.17, 0.15, 0.12, 0.1),
)
#: Completions asked for at once.
_AT_ONCE = 64

Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TokenWishes:
    """What is to be certified for `mode`: a mean loss of `epsilon` over completions of up to `tokens` tokens."""

    mode: ExitMode = ExitMode.SKIP
    epsilon: float = 0.01
    delta: float = 0.1
    sequences: int = 400
    prompt_tokens: int = 32
    tokens: int = 64


@dataclass(slots=True)
class _Seen:
    """One completion's depths and its loss. Written by the engine's thread."""

    depths: list[int] = field(default_factory=list)
    loss: float = 0.0
    error: HeteroError | None = None
    ended: Event = field(default_factory=Event)

    def take(self, event: EngineEvent) -> None:
        if isinstance(event, Chunk):
            self.depths.extend(event.depths)
            return
        if isinstance(event, Failed):
            self.error = event.error
        elif isinstance(event, Finished):
            self.loss = event.differing or 0.0
        self.ended.set()


def check_sequences(wishes: TokenWishes) -> None:
    """Raise CalibrationError, before anything is started, for fewer completions than can certify anything."""
    floor = certification_floor(wishes.epsilon, wishes.delta, Bound.BETTING)
    if wishes.sequences < floor:
        raise CalibrationError(
            f"{wishes.sequences} completions cannot certify a share of {wishes.epsilon:g} at confidence"
            f" {1 - wishes.delta:g}; ask for --sequences {floor} at least, or allow more"
        )


def cut_prompts(token_ids: Sequence[int], wishes: TokenWishes) -> Prompts:
    """Pieces of a text, evenly spread, of which none shares a token with another. Raises InvalidRequestError."""
    count, length = wishes.sequences, wishes.prompt_tokens
    if len(token_ids) < count * length:
        raise InvalidRequestError(
            f"the text has {len(token_ids)} tokens: too few for {count} prompts of {length}; give more text, or fewer"
            " --sequences"
        )
    step = len(token_ids) // count
    return [tuple(token_ids[index * step : index * step + length]) for index in range(count)]


def calibrate_tokens(
    runtime: "Runtime",
    folder: Path,
    config: DecoderConfig,
    depth: int,
    prompts: Prompts,
    wishes: TokenWishes,
    tell: Callable[[int, int], None] = lambda done, whole: None,
) -> CalibrationReport:
    """Certify the exit after `depth` blocks of a model that was started with ``observe``. Raises CalibrationError."""
    losses, depths, found = [np.zeros(len(prompts))], [[config.block_count] * len(prompts)], None
    for number, threshold in enumerate(THRESHOLDS[1:], 1):
        tell(number, len(THRESHOLDS) - 1)
        seen = _complete(runtime, prompts, Leaving(wishes.mode, threshold, audited=True), wishes.tokens)
        losses.append(np.array([each.loss for each in seen]))
        depths.append([one for each in seen for one in each.depths])
        found = certify(THRESHOLDS, np.array(losses), wishes.epsilon, wishes.delta)
        if found is None or found.index < number:
            break
    tell(len(THRESHOLDS) - 1, len(THRESHOLDS) - 1)
    if found is None or not found.index:
        raise CalibrationError(
            f"the exit after {depth} blocks cannot be taken at its word for {wishes.epsilon:g}: even where it is surest"
            " more differs; allow more, train it (`hetero train-exits`), or place it deeper (--at)"
        )
    passed = found.index + 1
    return CalibrationReport(
        fingerprint=token_fingerprint(folder, config, runtime.plan, runtime.reports, wishes.mode, depth),
        policy=ExitPolicy(Measure.MAXIMUM, (depth,), (1.0,)),
        exits=(depth,),
        thresholds=THRESHOLDS[:passed],
        epsilon=wishes.epsilon,
        delta=wishes.delta,
        samples=found.samples,
        loss=f"the share of a greedy completion's tokens, up to {wishes.tokens}, that differ from full depth's",
        risk=found.risk,
        bounds=sequence_bounds(np.array(losses[:passed]), wishes.delta),
        method=found.method,
        profile=profile_of(depths[found.index], config.block_count),
        head_blocks=head_blocks(folder, config),
        aurocs={},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def head_blocks(folder: Path, config: DecoderConfig) -> float:
    """What asking the exit costs in blocks: the head's weights over a block's, for reading them is what takes time."""
    blocks = describe_layers(folder, config)
    return describe_ends(folder, config).head_bytes / (sum(each.weight_bytes for each in blocks) / len(blocks))


def _complete(runtime: "Runtime", prompts: Prompts, leaving: Leaving, tokens: int) -> list[_Seen]:
    """All completions, some at a time. Raises the first one's error."""
    found = [_Seen() for _ in prompts]
    for begin in range(0, len(prompts), _AT_ONCE):
        wave = slice(begin, begin + _AT_ONCE)
        for number, (prompt, seen) in enumerate(zip(prompts[wave], found[wave], strict=True), begin):
            name = f"calibration {leaving.threshold:g} {number}"
            runtime.submit(name, prompt, SamplingParams(max_tokens=tokens), seen.take, adaptive=leaving)
        for seen in found[wave]:
            seen.ended.wait()
            if seen.error is not None:
                raise seen.error
    return found
