"""What each stage's actor asks of Ray, and where."""

from dataclasses import replace

import pytest

from hetero.cluster import Node
from hetero.errors import ConfigurationError
from hetero.pipeline.actor_places import GPU_ENVIRONMENT, places
from placement.types import Device, DeviceKind, Plan, Stage

HERE = Node("", "a1" * 28, "10.0.0.1", {"CPU": 2.0, "GPU": 1.0, "hetero_npu": 1.0})
THERE = Node("far", "b2" * 28, "10.0.0.2", {"CPU": 2.0})


def device(name: str, kind: DeviceKind, node: Node) -> Device:
    full = f"{node.name}.{name}" if node.name else name
    return Device(full, kind, ("torch",), ("fp32",), 1, node=node.name, node_id=node.id)


def plan(*devices: Device) -> Plan:
    return Plan(tuple(Stage(d, "torch", i, i + 1, "fp32") for i, d in enumerate(devices)), "a test")


def test_stages_of_a_node_share_one_cpu_and_those_of_a_gpu_that_gpu() -> None:
    cpu, gpu = device("cpu", DeviceKind.CPU, HERE), device("gpu0", DeviceKind.GPU, HERE)
    found = places(plan(cpu, gpu, gpu), (HERE, THERE))
    assert [place.cpus for place in found] == [0.3333, 0.3333, 0.3333]
    assert sum(place.cpus for place in found) <= 1
    assert [place.gpus for place in found] == [0.0, 0.5, 0.5]


def test_every_stage_goes_to_its_own_node_and_is_never_restarted() -> None:
    found = places(plan(device("cpu", DeviceKind.CPU, HERE), device("cpu", DeviceKind.CPU, THERE)), (HERE, THERE))
    assert [place.node for place in found] == [HERE, THERE]
    assert [place.cpus for place in found] == [1.0, 1.0]
    options = found[1].options()
    assert options["scheduling_strategy"].node_id == THERE.id and options["scheduling_strategy"].soft is False
    assert options["max_restarts"] == 0 and options["runtime_env"] == {}


def test_npu_resource_is_asked_for_only_where_it_is_offered_and_never_by_rays_own_name() -> None:
    npu = device("npu", DeviceKind.NPU, HERE)
    (offered,) = places(plan(npu), (HERE,))
    assert offered.options()["resources"] == {"hetero_npu": 1.0}
    (silent,) = places(plan(npu), (replace(HERE, resources={"CPU": 2.0}),))
    assert silent.options()["resources"] == {}


def test_gpu_stage_sees_all_gpus_so_that_names_hold() -> None:
    (place,) = places(plan(device("gpu0", DeviceKind.GPU, HERE)), (HERE,))
    assert place.options()["runtime_env"] == {"env_vars": GPU_ENVIRONMENT}
    (unknown_to_ray,) = places(plan(device("gpu0", DeviceKind.GPU, THERE)), (THERE,))
    assert unknown_to_ray.gpus == 0.0


def test_device_without_a_node_id_is_found_by_its_nodes_name() -> None:
    near = replace(device("cpu", DeviceKind.CPU, HERE), node_id="")
    far = replace(device("cpu", DeviceKind.CPU, THERE), node_id="")
    assert [place.node for place in places(plan(near, far), (HERE, THERE))] == [HERE, THERE]


def test_node_that_is_gone_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ConfigurationError, match=r"stage 0 \(far\.cpu/torch:0-1\).*the nodes are: the driver's"):
        places(plan(device("cpu", DeviceKind.CPU, THERE)), (HERE,))
