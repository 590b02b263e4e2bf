"""Single cores of a CPU as devices: their names, their shares, and processes that keep to them."""

import os
import subprocess
import sys

import pytest

from hetero.cores import core_devices, own_cores, whole_cpu, with_named_cores
from hetero.planning import make_plan
from placement import Device, DeviceKind, Layer, UnknownDeviceError, format_plan

CPU = Device("cpu", DeviceKind.CPU, ("openvino", "torch"), ("fp32",), 1000, cores=(0, 3))
FAR = Device("far.cpu", DeviceKind.CPU, ("torch",), ("fp32",), 900, node="far", node_id="f", cores=(7,))
NPU = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 500, emulated=True)
LAYERS = tuple(Layer(index, "decoder", 1, 1, 1) for index in range(4))


def test_every_core_of_every_cpu_is_a_device_with_its_share_of_memory() -> None:
    cores = core_devices((CPU, NPU, FAR))
    assert [core.name for core in cores] == ["cpu-core0", "cpu-core3", "far.cpu-core7"]
    assert [core.memory_bytes for core in cores] == [500, 500, 900]
    assert [core.cores for core in cores] == [(0,), (3,), (7,)]
    assert cores[2].node_id == "f"


@pytest.mark.parametrize(
    ("name", "whole"), [("cpu-core3", "cpu"), ("far.cpu-core7", "far.cpu"), ("cpu", "cpu"), ("npu", "npu")]
)
def test_core_belongs_to_its_cpu(name: str, whole: str) -> None:
    assert whole_cpu(name) == whole


def test_plan_may_name_cores_without_being_asked() -> None:
    plan = make_plan("cpu-core3/torch:0-1,cpu:1-3,far.cpu-core7:3-4", (CPU, FAR), LAYERS)
    assert format_plan(plan) == "cpu-core3/torch@fp32:0-1,cpu/openvino@fp32:1-3,far.cpu-core7/torch@fp32:3-4"
    assert plan.stages[0].device.cores == (3,)


def test_core_that_is_not_there_is_refused() -> None:
    assert with_named_cores((CPU,), "cpu-core9:0-4") == (CPU,)
    with pytest.raises(UnknownDeviceError, match="no device 'cpu-core9'"):
        make_plan("cpu-core9:0-4", (CPU,), LAYERS)


def test_only_less_than_all_cores_bind_a_stage() -> None:
    here = tuple(sorted(os.sched_getaffinity(0)))
    whole = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1, cores=here)
    assert own_cores(whole) == ()
    assert own_cores(Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32",), 1, cores=here[:1])) == ()


def test_process_keeps_all_its_threads_to_a_core() -> None:
    """In a process of its own, for it cannot be undone for threads that end meanwhile."""
    script = (
        "import os, threading, time\n"
        "from hetero.cores import keep_to_cores\n"
        "core = max(os.sched_getaffinity(0))\n"
        "running = threading.Thread(target=time.sleep, args=(5,), daemon=True); running.start()\n"
        "keep_to_cores((core,))\n"
        "later = threading.Thread(target=time.sleep, args=(5,), daemon=True); later.start()\n"
        "threads = (os.getpid(), running.native_id, later.native_id)\n"
        "assert all(os.sched_getaffinity(thread) == {core} for thread in threads)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
