"""Exits and cuts chosen together: against every pair of a set and a plan, and on a small encoder with heads."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest

from adaptive.errors import CalibrationError
from adaptive.profile import profile_of
from adaptive.replay import Observations
from hetero.cli.main import run
from hetero.exits.calibration import Wishes, plan_exits
from hetero.exits.positions import ExitSet, choose_together, exit_sets, full_depth
from placement import Device, DeviceKind, Layer, Objective, PlacementProblem
from placement.costs import CostModel
from placement.errors import InfeasibleError
from placement.evaluation import LaneStage, evaluate
from placement.problem import ExitPoint, ModelShape, Traffic
from placement.profiles import Fingerprint, LinkTime, Profile, SegmentTime


def encoder_problem(seed: int, objective: Objective) -> PlacementProblem:
    """An encoder of four to six blocks on three unlike devices, none of which holds all of the largest."""
    rng = np.random.default_rng(seed)
    blocks, names = int(rng.integers(4, 7)), ("a", "b", "c")
    devices = tuple(Device(n, DeviceKind.GPU, ("torch",), ("fp16",), int(rng.uniform(300, 900) * 1e3)) for n in names)
    segments = tuple(
        SegmentTime(name, "torch", "fp16", "encode", first, last, tokens, 16, (seconds * (1 + tokens / 64),))
        for name, (overhead, block) in zip(names, rng.uniform((0.1, 0.5), (0.6, 3), (3, 2)).tolist(), strict=True)
        for tokens in (16, 64)
        for first, last, seconds in ((0, 1, overhead + block), (1, 3, overhead + 2 * block))
    )
    links = [LinkTime(a, b, 256, (float(rng.uniform(0, 0.3)),)) for a, b in permutations((*names, "host"), 2)]
    profile = Profile(Fingerprint("m", "x", ()), blocks, segments, tuple(links))
    model = ModelShape(tuple(Layer(i, "encoder", 10**5, 0, 64) for i in range(blocks)), encoder=True)
    return PlacementProblem(model, devices, profile, Traffic(16, concurrency=int(rng.choice([1, 4]))), objective)


def random_sets(seed: int, blocks: int, head_blocks: float) -> tuple[ExitSet, ...]:
    """Up to three exits; any input leaves at the first exit that is at least as deep as what it needs."""
    rng = np.random.default_rng(seed)
    needs = rng.integers(1, blocks + 1, 40)
    made = [full_depth(blocks)]
    for depths in (each for size in (1, 2, 3) for each in combinations(range(1, blocks), size)):
        ends = [next((d for d in depths if d >= need), blocks) for need in needs]
        survival = profile_of(ends, blocks).survival()
        heads = head_blocks * sum(survival[depth - 1] for depth in depths)
        made.append(ExitSet(depths, survival, float(np.mean(ends)) + heads))
    return tuple(made)


def every_plan(problem: PlacementProblem) -> Iterator[tuple[LaneStage, ...]]:
    blocks, costs = problem.model.block_count, CostModel(problem)
    usable = [0.9 * device.memory_bytes for device in problem.devices]
    for count in range(1, 4):
        for cuts, order in product(combinations(range(1, blocks), count - 1), permutations(range(3), count)):
            edges = (0, *cuts, blocks)
            stages = tuple(LaneStage(d, edges[k], edges[k + 1]) for k, d in enumerate(order))
            if all(costs.memory_bytes[s.lane, s.first, s.last] <= usable[s.lane] for s in stages):
                yield stages


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_best_of_all_pairs_of_exits_and_plans_is_found(objective: Objective) -> None:
    kept, counts = set(), set()
    for seed in range(14):
        problem, head_blocks = encoder_problem(seed, objective), (0.05, 0.4, 0.8)[seed % 3]
        sets, plans = random_sets(seed, problem.model.block_count, head_blocks), list(every_plan(problem))
        if not plans:
            with pytest.raises(InfeasibleError):
                choose_together(problem, sets, head_blocks)
            continue
        found = choose_together(problem, sets, head_blocks)
        values = {each.depths: best_value(problem, each, head_blocks, plans) for each in sets}
        assert found.value == pytest.approx(min(values.values()))
        assert values[found.exits.depths] == pytest.approx(found.value)
        assert values[found.fewest.depths] == pytest.approx(found.fewest_value)
        assert values[()] == pytest.approx(found.full_value)
        assert min(each.figures.of(objective) for each in found.choice.alternatives if not each.refusal) == (
            pytest.approx(found.value)
        )
        assert found.sets == len(sets) >= found.searched
        kept.add(found.exits.depths != found.fewest.depths)
        counts.add(len(found.exits.depths))
    # The devices do change which exits are best, and how many.
    assert kept == {True, False} and len(counts) > 1


def best_value(
    problem: PlacementProblem, exits: ExitSet, head_blocks: float, plans: list[tuple[LaneStage, ...]]
) -> float:
    points = tuple(ExitPoint(depth, head_blocks) for depth in exits.depths)
    costs = CostModel(replace(problem, traffic=replace(problem.traffic, survival=exits.survival, exits=points)))
    return min(evaluate(costs, plan).of(problem.objective) for plan in plans)


def observed(blocks: int, count: int = 400) -> Observations:
    """Two classes; what an exit says grows surer with depth, and with how easy the input is."""
    rng = np.random.default_rng(3)
    depths, easy = tuple(range(1, blocks)), rng.uniform(0, 3, count)
    sure = easy[:, None] * np.array(depths) * np.where(rng.random((count, len(depths))) < 0.01, -1, 1)
    final = np.stack([-easy, easy], axis=1)
    return Observations(np.stack([-sure, sure], axis=2), np.ones(sure.shape), final, depths, blocks)


def test_sets_are_of_exits_that_pay_and_calibration_keeps_what_is_named() -> None:
    seen = observed(5)
    sets = exit_sets(seen, 0.1, Wishes(epsilon=0.05))
    by_depths = {each.depths: each for each in sets}
    assert () in by_depths and len(by_depths) == len(sets) > 5
    for each in sets[1:]:
        leaving = [1 - each.survival[depth] / each.survival[depth - 1] for depth in each.depths]
        assert all(share > 0.1 / (5 - depth) for share, depth in zip(leaving, each.depths, strict=True))
    assert exit_sets(seen, 9.0, Wishes(epsilon=0.05)) == (full_depth(5),)
    plan = plan_exits(seen, 0.1, Wishes(epsilon=0.05, at=(2, 3)))
    assert plan.kept.exits == (1, 2) and plan.kept.profile.survival() == by_depths[2, 3].survival
    with pytest.raises(CalibrationError, match="no exit at 7; there are some at 1, 2, 3, 4"):
        plan_exits(seen, 0.1, Wishes(epsilon=0.05, at=(2, 7)))
    with pytest.raises(CalibrationError, match="does not pay"):
        plan_exits(seen, 9.0, Wishes(epsilon=0.05, at=(2,)))


def test_more_than_twelve_positions_are_thinned_to_those_worth_most() -> None:
    sets = exit_sets(observed(16), 0.01, Wishes(epsilon=0.05, most_exits=1))
    assert len(sets) == 1 + 12


def test_plan_chooses_exits_of_a_small_encoder_and_says_how_to_certify_them(
    exiting_model: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    monkeypatch.setattr("hetero.exits.costs.head_cost_blocks", lambda folder: 0.05)
    asked = ["plan", str(exiting_model), "--objective", "throughput", "--concurrency", "8", "--json"]
    assert run([*asked, "--choose-exits", "--epsilon", "0.3"]) == 0
    chosen = json.loads(capfd.readouterr().out)
    assert run(asked) == 0
    plain = json.loads(capfd.readouterr().out)
    assert "chosen together among" in chosen["note"] and "--at" in chosen["note"] and chosen["plan"] in chosen["note"]
    assert chosen["figures"]["requests_per_second"] > plain["figures"]["requests_per_second"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--survival", "1,1,1,1"), "leave --survival out"),
        (("--plan", "cpu:0-4"), "leave --plan out"),
        (("--epsilon", "2"), "--epsilon is 2 but must be between 0 and 1"),
    ],
)
def test_what_does_not_go_with_a_choice_of_exits_is_refused(
    flags: tuple[str, ...], message: str, exiting_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(exiting_model), "--choose-exits", *flags]) != 0
    assert message in capfd.readouterr().err


def test_model_without_exits_says_how_to_train_them(
    checkpoint: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(checkpoint("bert-classifier")), "--choose-exits"]) != 0
    assert "hetero train-exits" in capfd.readouterr().err
