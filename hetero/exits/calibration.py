"""Certified thresholds for a model's exits, from texts that go through the very pipeline that will serve.

Measures, gates, temperatures and the exits to keep come from the texts held out in training, so that every text given
here counts for the certificate. Knows the runtime's observations; the statistics are `adaptive`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from adaptive.bounds import Bound
from adaptive.certify import certification_floor, certify, sequence_bounds
from adaptive.errors import CalibrationError
from adaptive.fitting import best_measure, fit_policy, rank_measures
from adaptive.keeping import Kept, keep_exits, kept_at
from adaptive.measures import Floats, Measure
from adaptive.policy import ExitPolicy
from adaptive.profile import profile_of
from adaptive.replay import Observations, all_scores, grid, outcome
from adaptive.report import CalibrationReport
from hetero.exits.costs import head_cost_blocks
from hetero.exits.opening import fingerprint_of
from hetero.exits.storage import ExitCard, read_card, read_held_out
from hetero.runtime import Runtime

#: Texts of one call.
_CHUNK = 512
#: What part of epsilon the held-out texts may differ by where exits are chosen: a certificate leaves about that.
_PLANNED_SHARE = 0.6
#: Thresholds to test: in a fixed sequence more of them cost nothing, and the last one certified lies closer.
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be certified: with confidence 1 - `delta` a disagreement of at most `epsilon`.

    `measure` None takes the one that ranks best. At most `most_exits` exits are kept; just those at the depths `at`
    where it names some, as a plan that was chosen with them has them.
    """

    epsilon: float = 0.01
    delta: float = 0.1
    bound: Bound = Bound.BETTING
    measure: Measure | None = None
    most_exits: int = 3
    at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided before the first text of the certificate is seen."""

    policy: ExitPolicy
    kept: Kept
    thresholds: tuple[float, ...]
    aurocs: dict[Measure, tuple[float, ...]]


def observe(
    runtime: Runtime, card: ExitCard, texts: Sequence[str], tell: Callable[[int, int], None] = lambda done, whole: None
) -> Observations:
    """Every text at full depth with what each exit said, through a runtime started with ``observe``."""
    pieces = []
    for begin in range(0, len(texts), _CHUNK):
        found = runtime.submit_observation(texts[begin : begin + _CHUNK])
        pieces.append((found.result(), found.seen))
        tell(min(begin + _CHUNK, len(texts)), len(texts))
    final = np.concatenate([vectors for vectors, _ in pieces])
    seen = np.concatenate([each for _, each in pieces if each is not None])
    return Observations(seen[..., :-1], seen[..., -1], final, card.depths, card.block_count)


def plan_exits(held_out: Observations, head_blocks: float, wishes: Wishes) -> Plan:
    """Choose measure, exits and the thresholds to test, on texts that are no part of the certificate.

    Raises CalibrationError where exits are asked for at depths that have none, or that do not pay.
    """
    policy, aurocs = fitted_policy(held_out, wishes.measure)
    kept = _kept(policy, held_out, head_blocks, wishes)
    return Plan(policy, kept, grid(all_scores(policy, held_out, kept.exits), _STEPS), aurocs)


def fitted_policy(
    held_out: Observations, measure: Measure | None = None
) -> tuple[ExitPolicy, dict[Measure, tuple[float, ...]]]:
    """The policy by `measure`, or by the one that ranks best, and how each ranks."""
    policy = fit_policy(held_out)
    aurocs = rank_measures(policy, held_out)
    return ExitPolicy(measure or best_measure(aurocs), policy.depths, policy.temperatures, policy.gates), aurocs


def planned_disagreement(held_out: Observations, epsilon: float) -> float:
    """What held-out texts may differ by where exits are chosen."""
    return max(_PLANNED_SHARE * epsilon, 1.5 / len(held_out))


def _kept(policy: ExitPolicy, held_out: Observations, head_blocks: float, wishes: Wishes) -> Kept:
    most = planned_disagreement(held_out, wishes.epsilon)
    if not wishes.at:
        return keep_exits(policy, held_out, head_blocks, most, wishes.most_exits)
    missing = sorted(set(wishes.at) - set(policy.depths))
    if missing:
        raise CalibrationError(f"there is no exit at {missing[0]}; there are some at {_listed(policy.depths)}")
    numbers = tuple(policy.depths.index(depth) for depth in sorted(set(wishes.at)))
    found = kept_at(policy, held_out, numbers, head_blocks, most)
    if found is None:
        raise CalibrationError(
            f"of the exits at {_listed(wishes.at)} one does not pay for its head at a disagreement of"
            f" {wishes.epsilon:g}; name others, or none, so that they are chosen"
        )
    return found


def _listed(depths: Sequence[int]) -> str:
    return ", ".join(map(str, depths))


def losses_of(plan: Plan, seen: Observations) -> Floats:
    """Whether each text's answer differs at each of the plan's thresholds, 0 or 1, [thresholds, N]."""
    scores = all_scores(plan.policy, seen, plan.kept.exits)
    return np.array([outcome(scores, limit, seen).disagrees for limit in plan.thresholds], np.float64)


def check_sample(count: int, wishes: Wishes) -> None:
    """Raise CalibrationError, before anything is started, for fewer texts than can certify anything."""
    floor = certification_floor(wishes.epsilon, wishes.delta, wishes.bound)
    if count < floor:
        raise CalibrationError(
            f"{count} texts cannot certify a disagreement of at most {wishes.epsilon:g} at confidence"
            f" {1 - wishes.delta:g}; give at least {floor}, without labels if need be, or allow more"
        )


def calibrate(
    start: Callable[[tuple[int, ...]], Runtime],
    folder: Path,
    texts: Sequence[str],
    wishes: Wishes,
    tell: Callable[[int, int], None] = lambda done, whole: None,
) -> CalibrationReport:
    """Certify exits of the model in `folder`: choose them, `start` a runtime with just them, and run all texts.

    Raises CalibrationError or ModelError.
    """
    check_sample(len(texts), wishes)
    card, head_blocks = read_card(folder), head_cost_blocks(folder)
    plan = plan_exits(read_held_out(folder, card), head_blocks, wishes)
    exits = tuple(card.depths[index] for index in plan.kept.exits)
    if not exits:
        raise CalibrationError(f"no exit of {folder} pays; train others, or allow more than {wishes.epsilon:g}")
    with start(exits) as runtime:
        seen = observe(runtime, card, texts, tell)
        fingerprint = fingerprint_of(folder, runtime.plan, runtime.reports)
    losses = losses_of(plan, seen)
    found = certify(plan.thresholds, losses, wishes.epsilon, wishes.delta, wishes.bound)
    # The first threshold stops nothing and so never differs; from the floor on it is certified.
    assert found is not None
    after = outcome(all_scores(plan.policy, seen, plan.kept.exits), found.threshold, seen)
    passed = found.index + 1
    return CalibrationReport(
        fingerprint=fingerprint,
        policy=plan.policy,
        exits=exits,
        thresholds=plan.thresholds[:passed],
        epsilon=wishes.epsilon,
        delta=wishes.delta,
        samples=found.samples,
        loss="the answer differs from full depth's",
        risk=found.risk,
        bounds=sequence_bounds(losses[:passed], wishes.delta, wishes.bound),
        method=wishes.bound,
        profile=profile_of(after.depths.tolist(), card.block_count),
        head_blocks=head_blocks,
        aurocs={str(measure): values for measure, values in plan.aurocs.items()},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
