"""The door: what is chosen, what it is compared with, and every reason for which something is refused."""

from dataclasses import replace

import pytest

from placement import (
    Bounds,
    Constraints,
    DataLabel,
    Device,
    DeviceKind,
    InfeasibleError,
    Objective,
    Pin,
    PlacementError,
    PlacementProblem,
    Power,
    ProfileError,
    Refusal,
    RefusalReason,
    Traffic,
    Trust,
    UnknownDeviceError,
    choose,
    format_plan,
    parse_plan,
    predict,
)
from placement.problem import ExitPoint

MEBIBYTE = 2**20
EVERYTHING = frozenset({DataLabel.RAW_TOKENS})


def constrained(problem: PlacementProblem, **constraints) -> PlacementProblem:
    return replace(problem, constraints=Constraints(**constraints))


def narrow(problem: PlacementProblem, mebibytes: int) -> PlacementProblem:
    """The GPU with so much memory, of which nine tenths may be filled."""
    gpu = replace(problem.devices[0], memory_bytes=mebibytes * MEBIBYTE)
    return replace(problem, devices=(gpu, problem.devices[1]))


def reasons(problem: PlacementProblem) -> set[RefusalReason]:
    return {refusal.reason for refusal in choose(problem).refusals}


def test_fastest_device_takes_all_where_it_fits(small):
    choice = choose(narrow(small, 80))
    assert format_plan(choice.plan) == "gpu0/torch@fp16:0-4"
    assert choice.gap == 0
    assert choice.alternatives[0].name == "gpu0 alone"
    assert choice.bindings == ()


def test_blocks_that_do_not_fit_go_to_the_slower_device(small):
    choice = choose(small)  # 36 MiB may be filled: three blocks of 10 MiB
    assert format_plan(choice.plan) in (
        "gpu0/torch@fp16:0-3,cpu/openvino@fp16:3-4",
        "cpu/openvino@fp16:0-1,gpu0/torch@fp16:1-4",
    )
    [memory] = [each for each in choice.refusals if each.reason is RefusalReason.MEMORY]
    assert memory.device == "gpu0"
    assert "at most 3 blocks fit" in memory.sentence
    assert [binding.reason for binding in choice.bindings] == [RefusalReason.MEMORY]
    assert choice.figures.stages[0].memory_bytes <= choice.figures.stages[0].usable_bytes


def test_every_baseline_is_scored_with_its_number_or_its_refusal(small):
    plan = parse_plan("cpu:0-2,gpu0:2-4", small.devices, 4, "fp16")
    choice = choose(replace(small, current=plan))
    scored = {each.name: each for each in choice.alternatives}
    assert {"gpu0 alone", "cpu alone", "current plan"} <= set(scored)
    assert scored["gpu0 alone"].refusal.reason is RefusalReason.MEMORY
    assert format_plan(scored["current plan"].plan) == format_plan(plan)
    # Even shares are the plan that runs, the other way round; the greedy fill is the best plan.
    assert len({format_plan(each.plan) for each in choice.alternatives}) == len(choice.alternatives)
    values = [each.figures.latency_seconds for each in choice.alternatives if each.refusal is None]
    assert values == sorted(values)


def test_simpler_plan_is_taken_inside_the_model_s_error(small):
    nearly = narrow(small, 80)
    # Two stages gain a little less than the error: the prompt's head on the CPU costs what the GPU saves.
    slow = tuple(
        replace(time, seconds=tuple(s * (1.02 if time.device == "cpu" else 3.0) for s in time.seconds))
        for time in nearly.profile.segments
    )
    links = tuple(replace(link, seconds=(1e-9,)) for link in nearly.profile.links)
    profile = replace(nearly.profile, segments=slow, links=links)
    choice = choose(replace(nearly, profile=profile))
    assert len(choice.plan.stages) == 1
    best = choice.alternatives[0].figures.latency_seconds
    assert best <= choice.figures.latency_seconds <= best * (1 + choice.alternatives[0].figures.relative_error)


def test_more_than_a_twentieth_between_measured_plans_counts_however_unsure_their_times_are(small):
    """Repeats that lie far apart make each time unsure, but both plans alike."""
    unsure = tuple(
        replace(time, seconds=tuple(s * factor for s in time.seconds for factor in (0.6, 1.0, 1.4)))
        for time in small.profile.segments
    )
    choice = choose(replace(narrow(small, 80), profile=replace(small.profile, segments=unsure)))
    best = choice.alternatives[0]
    assert best.figures.relative_error > 0.2
    assert choice.figures.latency_seconds <= best.figures.latency_seconds * 1.05


@pytest.mark.parametrize(
    ("bounds", "objective"),
    [
        (Bounds(first_token_seconds=0.4), Objective.ENERGY),
        (Bounds(latency_seconds=0.5), Objective.ENERGY),
        (Bounds(energy_joules=20), Objective.LATENCY),
        (Bounds(requests_per_second=4), Objective.ENERGY),
    ],
)
def test_bound_is_kept_while_another_figure_is_made_best(small, bounds, objective):
    asked = replace(narrow(small, 80), objective=objective, power=Power({"gpu0": 200.0, "cpu": 20.0}))
    free, bounded = choose(asked), choose(replace(asked, bounds=bounds))
    assert bounded.figures.of(objective) >= free.figures.of(objective)
    for name, limit in bounds.given().items():
        value = getattr(bounded.figures, name)
        assert value >= limit * (1 - 1e-9) if name == "requests_per_second" else value <= limit * (1 + 1e-9)


@pytest.mark.parametrize("pin", [Pin("cpu", 0, 1), Pin("cpu", 2, 4), Pin("gpu0", 0, 3)])
def test_pinned_range_is_one_stage_on_its_device(small, pin):
    choice = choose(constrained(narrow(small, 80), pins=(pin,)))
    assert (pin.device, pin.first, pin.last) in {(s.device.name, s.first, s.last) for s in choice.plan.stages}
    assert RefusalReason.PIN in {refusal.reason for refusal in choice.refusals}


def test_excluded_device_holds_nothing(small):
    choice = choose(constrained(small, excluded=frozenset({"gpu0"})))
    assert format_plan(choice.plan) == "cpu/openvino@fp16:0-4"
    assert "gpu0 is excluded" in {each.sentence for each in choice.refusals}


def test_engine_that_refused_is_not_used_and_its_words_are_kept(small):
    profile = replace(small.profile, refusals=(Refusal("gpu0", "torch", "fp16", "no kernel image"),))
    choice = choose(replace(small, profile=profile))
    assert format_plan(choice.plan) == "cpu/openvino@fp16:0-4"
    [engine] = [each for each in choice.refusals if each.reason is RefusalReason.ENGINE]
    assert engine.sentence == "torch refused the model on gpu0 in fp16: no kernel image"


def with_emulated(problem: PlacementProblem) -> PlacementProblem:
    npu = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 2**30, emulated=True)
    return replace(problem, devices=(*problem.devices, npu))


def test_emulated_device_is_left_out_unless_allowed_or_pinned(small):
    emulated = with_emulated(small)
    assert RefusalReason.EMULATED in reasons(emulated)
    assert RefusalReason.EMULATED not in reasons(constrained(emulated, allow_emulated=True))
    pinned = choose(constrained(emulated, pins=(Pin("npu", 0, 1),)))
    assert pinned.plan.stages[0].device.name == "npu"


def test_precision_that_is_not_allowed_is_refused(small):
    cpu = replace(small.devices[1], precisions=("fp32", "fp16"))
    unmeasured = replace(small, devices=(cpu,), profile=None)
    choice = choose(constrained(unmeasured, precisions=frozenset({"fp32"})))
    assert choice.plan.stages[0].precision == "fp32"
    assert RefusalReason.PRECISION in {refusal.reason for refusal in choice.refusals}
    assert not choice.figures.measured


@pytest.mark.parametrize(
    ("cpu", "gpu", "legal"),
    [
        (EVERYTHING, EVERYTHING, True),
        (EVERYTHING, {DataLabel.HIDDEN, DataLabel.LOGITS}, True),
        (EVERYTHING, {DataLabel.HIDDEN}, False),
        (EVERYTHING, {DataLabel.CIPHERTEXT}, False),
        (EVERYTHING, {DataLabel.EMBEDDING, DataLabel.LOGITS}, True),
        (EVERYTHING, {DataLabel.LOGITS}, False),
    ],
)
def test_trust_is_a_mask(small, cpu, gpu, legal):
    """The GPU gets work exactly if it may see all that a stage of it sees, however much faster it is."""
    trust = Trust({"cpu": frozenset(cpu), "gpu0": frozenset(gpu)})
    choice = choose(constrained(small, trust=trust, max_stages=2))
    assert ("gpu0" in format_plan(choice.plan)) is legal
    if legal and gpu != EVERYTHING:
        assert choice.plan.stages[0].device.name == "cpu"


def test_trusted_host_may_keep_hidden_states_in_the_middle(small):
    third = replace(small.devices[1], name="cpu2", cores=(2, 3))
    segments = small.profile.segments
    copied = tuple(replace(time, device="cpu2") for time in segments if time.device == "cpu")
    trust = Trust(
        {
            "cpu": EVERYTHING,
            "gpu0": frozenset({DataLabel.HIDDEN}),
            "cpu2": frozenset({DataLabel.HIDDEN, DataLabel.LOGITS}),
        }
    )
    problem = replace(
        small, devices=(*small.devices, third), profile=replace(small.profile, segments=(*segments, *copied))
    )
    choice = choose(constrained(problem, trust=trust))
    assert [stage.device.name for stage in choice.plan.stages] == ["cpu", "gpu0", "cpu2"]


def test_ciphertext_may_be_seen_where_nothing_else_may(small):
    labels = (DataLabel.RAW_TOKENS, *[DataLabel.CIPHERTEXT] * 4)
    trust = Trust({"cpu": EVERYTHING, "gpu0": frozenset({DataLabel.CIPHERTEXT})}, labels)
    choice = choose(constrained(small, trust=trust))
    assert [stage.device.name for stage in choice.plan.stages] == ["cpu", "gpu0"]


def test_device_that_the_policy_does_not_name_may_see_nothing(small):
    choice = choose(constrained(small, trust=Trust({"cpu": EVERYTHING})))
    assert format_plan(choice.plan) == "cpu/openvino@fp16:0-4"
    [refusal] = [each for each in choice.refusals if each.reason is RefusalReason.TRUST]
    assert (
        refusal.sentence == "blocks 0-4 would show gpu0 raw-tokens and hidden and logits, for which it has no clearance"
    )


def test_unknown_power_is_refused_where_energy_is_asked(small):
    asked = replace(small, objective=Objective.ENERGY, power=Power({"cpu": 20.0}))
    choice = choose(asked)
    assert format_plan(choice.plan) == "cpu/openvino@fp16:0-4"
    assert RefusalReason.POWER_UNKNOWN in {refusal.reason for refusal in choice.refusals}


def test_number_of_stages_is_limited_where_asked(small):
    choice = choose(constrained(small, max_stages=1))
    assert format_plan(choice.plan) == "cpu/openvino@fp16:0-4"
    assert [binding.reason for binding in choice.bindings] == [RefusalReason.MEMORY, RefusalReason.STAGE_COUNT]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (lambda p: constrained(p, trust=Trust({})), r"lift: trust \(give a device the clearance"),
        (lambda p: constrained(p, excluded=frozenset({"gpu0", "cpu"})), r"lift: excluded \(take a device back in\)"),
        (lambda p: replace(p, bounds=Bounds(latency_seconds=1e-3)), r"lift: bound \(loosen the bound\)"),
        (lambda p: replace(p, objective=Objective.ENERGY), r"lift: power-unknown"),
        (lambda p: constrained(p, precisions=frozenset({"int4"})), r"lift: precision \(allow another precision\)"),
        (lambda p: replace(p, traffic=Traffic(4, 4, context_tokens=2**21)), r"lift: memory \(lower the concurrency"),
        (
            lambda p: constrained(narrow(p, 20), excluded=frozenset({"cpu"})),
            r"lift one of: memory \(.*\); or excluded \(.*\)",
        ),
        (
            lambda p: constrained(replace(p, traffic=Traffic(4, 4, context_tokens=2**21)), trust=Trust({})),
            r"lift: memory \(.*\) and trust \(.*\)",
        ),
        (
            lambda p: constrained(p, pins=(Pin("gpu0", 0, 4),)),
            r"lift one of: memory \(.*\); or pin \(change or drop a pin\)",
        ),
    ],
)
def test_infeasible_names_the_constraint_to_lift(small, problem, said):
    with pytest.raises(InfeasibleError, match=said):
        choose(problem(small))


@pytest.mark.parametrize(
    ("problem", "error", "said"),
    [
        (lambda p: replace(p, devices=()), InfeasibleError, "there is no device"),
        (lambda p: replace(p, model=replace(p.model, layers=())), PlacementError, "the model has no block"),
        (lambda p: replace(p, devices=(p.devices[0],) * 2, profile=None), PlacementError, "'gpu0' is there twice"),
        (lambda p: constrained(p, pins=(Pin("npu", 0, 1),)), UnknownDeviceError, "a pin names device 'npu'"),
        (lambda p: constrained(p, excluded=frozenset({"tpu"})), UnknownDeviceError, "names device 'tpu'"),
        (lambda p: constrained(p, trust=Trust({"tpu": EVERYTHING})), UnknownDeviceError, "the trust policy names"),
        (lambda p: replace(p, power=Power({"tpu": 1.0})), UnknownDeviceError, "the power table names device 'tpu'"),
        (lambda p: replace(p, devices=p.devices[:1]), UnknownDeviceError, "the profile names device 'cpu'"),
        (lambda p: replace(p, profile=replace(p.profile, block_count=5)), ProfileError, "of another model: it has 5"),
        (lambda p: constrained(p, pins=(Pin("cpu", 3, 9),)), PlacementError, "cpu:3-9 is no range"),
        (
            lambda p: constrained(p, pins=(Pin("cpu", 0, 2), Pin("gpu0", 1, 3))),
            PlacementError,
            "overlaps the one before",
        ),
        (lambda p: constrained(p, pins=(Pin("cpu", 0, 1), Pin("cpu", 2, 3))), PlacementError, "pinned twice"),
        (lambda p: constrained(p, pins=(Pin("cpu", 0, 1, "onnx"),)), UnknownDeviceError, "no engine 'onnx'"),
        (lambda p: constrained(p, trust=Trust({}, (DataLabel.HIDDEN,))), PlacementError, "labels 1 boundaries"),
        (lambda p: replace(p, traffic=Traffic(0, 1)), PlacementError, "prompt_tokens is 0"),
        (
            lambda p: replace(p, traffic=Traffic(survival=(0.5,))),
            PlacementError,
            "1 survival probabilities for 4 blocks",
        ),
        (lambda p: replace(p, traffic=Traffic(survival=(1, 1, 1, 1.5))), PlacementError, "must be within 0 and 1"),
        (lambda p: replace(p, traffic=Traffic(exits=(ExitPoint(4),))), PlacementError, "lie inside the 4 blocks"),
        (lambda p: replace(p, traffic=Traffic(exits=(ExitPoint(2, -1.0),))), PlacementError, "costs -1.0 of a block"),
        (
            lambda p: replace(p, bounds=Bounds(latency_seconds=float("nan"))),
            PlacementError,
            "the bound latency_seconds is nan",
        ),
    ],
)
def test_problem_that_cannot_be_is_refused(small, problem, error, said):
    with pytest.raises(error, match=said):
        choose(problem(small))


def test_any_plan_is_predicted_even_one_that_is_not_legal(small):
    figures = predict(small, parse_plan("gpu0:0-4", small.devices, 4))
    assert figures.token_seconds == pytest.approx(6.7e-3, rel=1e-3)
    assert figures.stages[0].memory_bytes > figures.stages[0].usable_bytes
    with pytest.raises(PlacementError, match="is none of this problem"):
        predict(small, replace(parse_plan("gpu0:0-5", small.devices, 5)))
