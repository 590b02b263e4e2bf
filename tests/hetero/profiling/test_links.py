"""Links' seconds out of steps, and which ways take which links."""

from itertools import pairwise

import pytest

from hetero.batch import StageTrace
from hetero.bench.hops import Step
from hetero.profiling.links import routes, way_seconds
from placement import Device, DeviceKind

DEVICES = [Device(name, DeviceKind.CPU, ("torch",), ("fp32",), 1) for name in ("a", "b", "c")]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ways_take_every_link_both_ways_and_the_hosts(count: int) -> None:
    devices = DEVICES[:count]
    taken = set()
    for route in routes(devices):
        taken.update(pairwise(["host", *(device.name for device in route), "host"]))
    ends = ["host", *(device.name for device in devices)]
    assert taken == {(one, other) for one in ends for other in ends if one != other}


def test_ways_on_one_node_are_as_its_clock_says() -> None:
    step = Step(0.0, (StageTrace(0, 1.0, 1.5), StageTrace(0, 3.5, 4.0), StageTrace(0, 7.0, 7.0)), 11.0)
    assert way_seconds(step, ["", "", "", "", ""]) == [1.0, 2.0, 3.0, 4.0]


def test_other_nodes_clock_cancels_over_the_way_there_and_back() -> None:
    far = 1000.0  # how much the other node's clock is ahead
    step = Step(0.0, (StageTrace(0, 1.0, 1.5), StageTrace(0, 3.5 + far, 4.0 + far), StageTrace(0, 7.0, 7.0)), 11.0)
    assert way_seconds(step, ["", "", "far", "", ""]) == pytest.approx([1.0, 2.5, 2.5, 4.0])
