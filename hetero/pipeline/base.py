"""What a pipeline is to the engine, and what goes from one stage to the next.

Knows no sockets, no Ray and no engine: `local.py` and `actor.py` implement it, `worker.py` does a stage's work.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from hetero.backends.base import ExitSpec, KvSpec, SliceReport, SliceSpec
from hetero.batch import Batch, BatchResult, DecodeBatch, EncodeBatch, FloatArray, LongArray, StageTrace
from hetero.cores import whole_cpu
from hetero.errors import BackendError
from placement.types import Device, DeviceKind, Plan, Stage

#: The control words.
WORDS = ("probe", "stop")

#: Called while a pipeline starts, with the stage's index and what it does now ("starting", "loading", "ready").
Progress = Callable[[int, str], None]


#: A `StageTrace` in bytes: when a stage received, started and ended.
TRACE = struct.Struct("<3d")

#: The two kinds of batch, for `isinstance`.
BATCHES = (DecodeBatch, EncodeBatch)


@dataclass(frozen=True, slots=True)
class Hidden:
    """One stage's output for the next: float32 [T, D] or [B, L, D] of the batch that came ahead of it.

    `traces` are packed, one `TRACE` for every stage passed: nobody reads them on the way. `drafts`, int64 [R, K], are
    what the first stage drafted after the sampled rows; the numbers are then those of `with_drafts(batch, drafts)`.
    """

    batch_id: int
    numbers: FloatArray
    traces: bytes
    drafts: LongArray | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A word to the stages that each passes on: `probe` proves the way, `stop` ends the serving loops."""

    word: str
    number: int = 0


#: What travels on a link. A batch runs ahead of its hidden states, so that a stage has read it when they come.
Message = Batch | Hidden | BatchResult | Control


def unpack_traces(packed: bytes) -> tuple[StageTrace, ...]:
    """The traces that lie one after another in `packed`. Raises struct.error if that is no whole number of them."""
    return tuple(StageTrace(*times) for times in TRACE.iter_unpack(packed))


class Pipeline(Protocol):
    """The stages of a plan, started; batches come out in the order in which they went in.

    One thread at a time may call `submit`, and one `collect`; they may be two threads.
    """

    reports: tuple[SliceReport, ...]

    @property
    def depth(self) -> int:
        """Number of stages: so many batches keep all of them busy."""
        ...

    def submit(self, batch: Batch) -> None:
        """Send a batch to the first stage. Raises StageLostError if a stage has died."""
        ...

    def collect(self, timeout_seconds: float) -> BatchResult | None:
        """The next result, or None after `timeout_seconds`. Raises StageLostError if a stage has died."""
        ...

    def close(self) -> None:
        """End every stage and free what it held; a second call does nothing."""
        ...


def local_device(device: Device) -> Device:
    """The device as its own node and its engines call it: `NODE.cpu` is `cpu` there, and so is `NODE.cpu-core1`."""
    prefix = f"{device.node}."
    name = device.name.removeprefix(prefix) if device.node else device.name
    return replace(device, name=whole_cpu(name), node="")


def slice_specs(
    folder: Path,
    plan: Plan,
    kv: KvSpec | None,
    threads: int = 0,
    draft_depth: int = 0,
    exits: ExitSpec | None = None,
) -> tuple[SliceSpec, ...]:
    """What each stage of `plan` has to compile; `threads` 0 means all cores of its node. With a
    `draft_depth` the first stage drafts with its blocks up to there."""
    return tuple(
        SliceSpec(
            folder,
            stage.first,
            stage.last,
            local_device(stage.device),
            stage.precision,
            threads,
            kv,
            0 if stage.first else draft_depth,
            exits,
        )
        for stage in plan.stages
    )


def stage_label(index: int, stage: Stage) -> str:
    """How messages name a stage: `stage 1 (npu/onnx:2-4)`."""
    return f"stage {index} ({stage.device.name}/{stage.engine}:{stage.first}-{stage.last})"


def check_reports(plan: Plan, reports: Sequence[SliceReport]) -> None:
    """Raise BackendError if an engine says that it runs a stage otherwise than planned.

    Engines name their devices each in its own way; what all of them say is whether it is the CPU.
    """
    for index, (stage, report) in enumerate(zip(plan.stages, reports, strict=True)):
        on_cpu = report.device.lower().startswith("cpu")
        right_device = on_cpu == (stage.device.kind is DeviceKind.CPU)
        if not right_device or (report.engine, report.precision) != (stage.engine, stage.precision):
            raise BackendError(
                f"{stage_label(index, stage)} at {stage.precision} is not honoured: {report.engine} runs it on "
                f"{report.device} at {report.precision}; change the plan to what the engine can do"
            )
