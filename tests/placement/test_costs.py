"""The cost model against numbers counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from placement.constraints import Pin
from placement.costs import CostModel
from placement.evaluation import LaneStage, evaluate
from placement.memory import memory_account
from placement.problem import ExitPoint, ModelShape, Power, Traffic
from placement.profiles import Contention, LinkTime, SegmentMemory, SegmentTime
from placement.segment_times import fit_parts, make_surface
from placement.steps import decode_steps, prompt_steps
from placement.types import Device, DeviceKind, Layer

MEBIBYTE = 2**20


def decode_seconds(costs: CostModel, lane: int, first: int, last: int) -> float:
    return float(costs.token.stage[lane, first, last])


def test_stage_is_overhead_blocks_and_ends(small):
    costs = CostModel(small)
    assert decode_seconds(costs, 0, 0, 1) == pytest.approx(1.5e-3, rel=1e-3)
    assert decode_seconds(costs, 0, 1, 3) == pytest.approx(2.5e-3, rel=1e-3)
    assert decode_seconds(costs, 0, 3, 4) == pytest.approx(3.5e-3, rel=1e-3)
    assert decode_seconds(costs, 1, 0, 4) == pytest.approx(14.5e-3, rel=1e-3)
    assert decode_seconds(costs, 1, 2, 2) == np.inf


def test_request_is_a_prompt_and_a_step_for_every_further_token(small):
    costs = CostModel(small)
    values = evaluate(costs, [LaneStage(0, 0, 4)])
    # The prompt's four tokens at once take 2.5 times one token's ten-fold time; then four steps follow.
    assert values.first_token_seconds == pytest.approx(65e-3 * 2.5 + 2e-4, rel=1e-3)
    assert values.latency_seconds == pytest.approx(65e-3 * 2.5 + 2e-4 + 4 * (6.5e-3 + 2e-4), rel=1e-3)


def test_every_token_pays_the_way_from_the_host_and_back(small):
    costs = CostModel(small)
    alone = evaluate(costs, [LaneStage(0, 0, 4)]).latency_seconds
    free = replace(small.profile, links=tuple(replace(link, seconds=(0.0,)) for link in small.profile.links))
    without = evaluate(CostModel(replace(small, profile=free)), [LaneStage(0, 0, 4)]).latency_seconds
    assert alone - without == pytest.approx(5 * 2e-4, rel=1e-3)


def test_throughput_is_the_largest_load_or_the_requests_in_flight(small):
    steady = replace(small, traffic=replace(small.traffic, concurrency=4, batch_sequences=4))
    cut = [LaneStage(0, 0, 3), LaneStage(1, 3, 4)]
    costs = CostModel(steady)
    # Four sequences share a step that takes 2.5 times one alone's.
    gpu = 35e-3 * 2.5 + 4 * 3.5e-3 * 2.5 / 4
    cpu = 55e-3 * 2.5 + 4 * 5.5e-3 * 2.5 / 4
    values = evaluate(costs, cut)
    assert values.load.stages == pytest.approx((gpu, cpu), rel=1e-3)
    assert values.seconds_per_request == pytest.approx(cpu, rel=1e-3)
    one = evaluate(CostModel(replace(small, traffic=replace(small.traffic, concurrency=1))), cut)
    assert one.seconds_per_request == pytest.approx(one.latency_seconds)


def test_devices_that_slow_each_other_down_do_so_only_when_both_work(small):
    contended = replace(small.profile, contentions=(Contention(("gpu0", "cpu"), 1.5),))
    cut = [LaneStage(0, 0, 3), LaneStage(1, 3, 4)]
    busy = Traffic(4, 5, concurrency=4, batch_sequences=4)
    apart = evaluate(CostModel(replace(small, traffic=busy)), cut)
    together = evaluate(CostModel(replace(small, traffic=busy, profile=contended)), cut)
    assert together.seconds_per_request == pytest.approx(1.5 * apart.seconds_per_request)
    assert together.latency_seconds == pytest.approx(apart.latency_seconds)


def test_devices_on_the_same_cores_halve_each_other_unless_measured(small):
    one = Device("cpu-core0", DeviceKind.CPU, ("openvino",), ("fp16",), 2**30, cores=(0,))
    two = replace(one, name="cpu-core1", cores=(1,))
    table = CostModel(replace(small, devices=(*small.devices, one, two))).contention
    assert table[1, 2] == table[1, 3] == 1.0
    assert table[0, 1] == table[2, 3] == 0.0


def test_energy_is_power_times_busy_time_and_bytes(small):
    power = Power({"gpu0": 100.0, "cpu": 50.0}, link_joules_per_byte=1e-3)
    costs = CostModel(replace(small, power=power))
    values = evaluate(costs, [LaneStage(0, 0, 4)])
    busy = 65e-3 * 2.5 + 4 * 6.5e-3
    moved = (256 + 4 * 64) + (256 + 64) + 4 * 2 * (256 + 64)
    assert values.energy_joules == pytest.approx(100 * busy + 1e-3 * moved, rel=1e-3)


def test_blocks_that_few_tokens_reach_cost_less(small):
    survival = (1.0, 0.5, 0.5, 0.25)
    exits = CostModel(replace(small, traffic=replace(small.traffic, survival=survival)))
    assert decode_seconds(exits, 0, 1, 3) == pytest.approx(0.5 * 2.5e-3, rel=1e-3)
    kept = replace(small.traffic, survival=survival, residual_load=0.5)
    assert decode_seconds(CostModel(replace(small, traffic=kept)), 0, 1, 3) == pytest.approx(0.75 * 2.5e-3, rel=1e-3)
    assert exits.first_token.stage[0, 1, 3] == pytest.approx(25e-3 * 2.5, rel=1e-3)


def test_exit_costs_its_head_and_inside_a_stage_another_call(small):
    traffic = replace(small.traffic, survival=(1.0, 1.0, 0.5, 0.25), exits=(ExitPoint(2, 0.1), ExitPoint(3, 0.2)))
    base = CostModel(small)
    costs = base.under(traffic)
    # Blocks of 1 ms, a stage's overhead of 0.5 ms; the exit after 3 blocks is looked at by the half that reach it.
    assert decode_seconds(costs, 0, 0, 2) == pytest.approx(2.1e-3 + 0.5e-3, rel=1e-3)
    assert decode_seconds(costs, 0, 1, 3) == pytest.approx((1.1 + 0.6) * 1e-3 + (1 + 0.5) * 0.5e-3, rel=1e-3)
    assert decode_seconds(costs, 0, 2, 3) == pytest.approx(0.6e-3 + 0.5 * 0.5e-3, rel=1e-3)
    whole = 1e-3 * (1 + 1.1 + 0.6 + 0.25) + (1 + 0.5 + 0.25) * 0.5e-3 + 0.25 * 2e-3
    assert decode_seconds(costs, 0, 0, 4) == pytest.approx(whole, rel=1e-3)
    assert (costs.first_token.stage == base.first_token.stage).all()
    assert (costs.token.stage == CostModel(replace(small, traffic=traffic)).token.stage).all()


def test_long_prompt_is_chunks_that_see_ever_more_context():
    steps = prompt_steps(Traffic(1100, 10, chunk_tokens=512), encoder=False)
    assert [(step.tokens, step.context, step.times) for step in steps] == [(512, 256.0, 2.0), (76, 1024, 1.0)]
    [step] = decode_steps(Traffic(100, 11), encoder=False)
    assert (step.context, step.times) == (105.0, 10.0)
    [texts] = prompt_steps(Traffic(64), encoder=True, batch=8)
    assert (texts.phase, texts.tokens, texts.context) == ("encode", 512, 64)


def times(points: dict[tuple[int, int], float]) -> list[SegmentTime]:
    return [SegmentTime("npu", "onnx", "fp16", "decode", 0, 1, t, c, (s,)) for (t, c), s in points.items()]


def test_surface_is_straight_in_tokens_and_in_context():
    surface = make_surface(times({(1, 0): 1.0, (5, 0): 3.0, (1, 100): 2.0}), "a segment")
    assert surface.at(3, 0) == pytest.approx(2.0)
    assert surface.at(1, 50) == pytest.approx(1.5)
    # Attention reads the context once a row: three rows pay three times as much for it.
    assert surface.at(3, 50) == pytest.approx(2.0 + 3 * 0.5)


def test_slope_of_a_disturbed_measurement_leaves_no_step_for_nothing():
    surface = make_surface(times({(32, 32): 1.0, (128, 128): 12.0, (1024, 128): 40.0}), "a segment")
    assert surface.at(512, 128) == pytest.approx(24.0)
    assert surface.at(512, 32) == pytest.approx(24.0 / 4)


def test_static_shapes_pay_for_padding_and_for_repeated_runs():
    surface = make_surface(times({(1, 64): 1.0, (4, 64): 2.0, (1, 128): 1.5}), "a segment", static_shapes=True)
    assert surface.at(1, 10) == pytest.approx(1.0)
    assert surface.at(2, 10) == pytest.approx(2.0)
    assert surface.at(1, 65) == pytest.approx(1.5)
    assert surface.at(9, 64) == pytest.approx(3 * 2.0)


def test_parts_of_whole_segments_are_kept_where_fusion_makes_more_blocks_cheaper():
    parts = fit_parts([(0, 1), (1, 2), (1, 5), (7, 8), (0, 8)], [1.5, 1.0, 3.0, 2.0, 6.5], [1.0] * 8, 0.0)
    assert parts.embedding_seconds == pytest.approx(0.5, rel=1e-3)
    assert parts.head_seconds == pytest.approx(1.0, rel=1e-3)
    assert parts.interior(np.array([1.0, 4.0, 8.0])) == pytest.approx([1.0, 3.0, 5.0], rel=1e-3)
    assert parts.relative_error == pytest.approx(0.03)


def test_unlike_blocks_count_by_their_size(small):
    double = tuple(
        replace(layer, weight_bytes=layer.weight_bytes * (2 if layer.index == 2 else 1)) for layer in small.model.layers
    )
    costs = CostModel(replace(small, model=replace(small.model, layers=double)))
    # Blocks 1 and 2 took 2.5 ms together, block 1 alone 1.5 ms: now three units against one.
    assert decode_seconds(costs, 0, 1, 2) == pytest.approx(1.5e-3, rel=1e-3)
    assert decode_seconds(costs, 0, 2, 3) == pytest.approx(2.0e-3, rel=1e-3)


def test_device_without_measurements_gets_a_prior_that_says_so(small):
    other = Device("gpu1", DeviceKind.GPU, ("torch",), ("fp16",), 2**30)
    costs = CostModel(replace(small, devices=(*small.devices, other)))
    parts = costs.times[2].parts(costs.decode_steps[0])
    assert not parts.measured
    assert parts.relative_error == 1.0
    assert costs.times[0].parts(costs.decode_steps[0]).relative_error == pytest.approx(0.03, abs=0.01)
    assert np.isfinite(costs.latency.stage[2, 0, 4])


def test_phase_that_was_not_measured_follows_the_device_s_own_rates(small):
    decode_only = tuple(time for time in small.profile.segments if time.phase == "decode")
    costs = CostModel(replace(small, profile=replace(small.profile, segments=decode_only)))
    parts = costs.times[0].parts(costs.prompt_steps[0])
    assert (parts.measured, parts.relative_error) == (False, 0.5)


def test_pinned_engine_that_was_not_measured_is_a_lane_of_its_own(small):
    gpu = replace(small.devices[0], engines=("torch", "openvino"))
    pinned = replace(small.constraints, pins=(Pin("gpu0", 0, 2, engine="openvino"),))
    costs = CostModel(replace(small, devices=(gpu, small.devices[1]), constraints=pinned))
    assert [(lane.engine, times.is_measured) for lane, times in zip(costs.lanes, costs.times, strict=True)] == [
        ("torch", True),
        ("openvino", False),
        ("openvino", True),
    ]


def test_link_that_was_not_measured_is_as_the_other_way_or_the_slowest_of_its_sort(small):
    measured = [LinkTime("gpu0", "cpu", n, (1e-3 + n * 1e-9,)) for n in (10, 1000, 100_000)]
    measured += [LinkTime("host", "gpu0", n, (2e-4,)) for n in (10, 1000)]
    links = CostModel(replace(small, profile=replace(small.profile, links=tuple(measured)))).links
    assert links.latency_seconds[1, 0] == pytest.approx(1e-3)
    assert links.latency_seconds[1, 2] == pytest.approx(1e-3)
    assert links.latency_seconds[0, 2] == pytest.approx(2e-4)
    assert links.relative_error[0, 2] < links.relative_error[1, 2]


LAYERS = tuple(Layer(i, "decoder", 100, 8, 16) for i in range(3))
MODEL = ModelShape(LAYERS, bytes_per_weight=2, embedding_bytes=1000, head_bytes=50)


def test_memory_counts_weights_cache_ends_and_activations():
    gpu = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32",), 10**6)
    table = memory_account(MODEL, Traffic(20, 20, concurrency=2), gpu, "fp32").table()
    cache = 2 * 64 * 8 * 2  # two sequences of 40 tokens in whole blocks of 32; keys and values in fp32
    rows = 20 * 16 * 8
    assert table[0, 1] == pytest.approx(200 + cache + rows)
    assert table[1, 3] == pytest.approx(2 * (200 + cache) + 100 + rows)
    cpu = replace(gpu, name="cpu", kind=DeviceKind.CPU)
    assert memory_account(MODEL, Traffic(20, 20, concurrency=2), cpu, "fp32").table()[0, 1] == table[0, 1] + 1000


def test_static_shapes_keep_every_slot_at_the_largest_bucket():
    npu = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 10**6, static_shapes=True)
    traffic = Traffic(20, 20, concurrency=2, context_tokens=256)
    assert memory_account(MODEL, traffic, npu, "fp16").block_bytes[0] == 100 + 2 * 256 * 8


def test_measured_memory_replaces_the_nominal():
    npu = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 10**6)
    measured = [SegmentMemory("npu", "onnx", "fp16", 0, 2, 300, 40, 80)]
    account = memory_account(MODEL, Traffic(1, 31, concurrency=1), npu, "fp16", measured)
    assert account.block_bytes[0] == pytest.approx(100 * 1.5 + 32 * 20 + 40)
