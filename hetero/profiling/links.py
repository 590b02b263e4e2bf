"""What it takes to hand a batch from one device to another, each way, and between a device and the host.

Drives pipelines of stages that compute nothing, so that sockets, copies and wake-ups are those of serving. A link's
seconds run from the end of one stage's compute to the start of the next one's.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import combinations, pairwise
from pathlib import Path

from hetero import wire
from hetero.batch import BatchResult, SampledToken
from hetero.bench.hops import Step, gaps_of, take_step
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.pipeline.actor import ActorPipeline
from hetero.pipeline.base import Message, Pipeline
from hetero.profiling.batches import Phase, Shape, kv_for, make_batch
from hetero.profiling.blank import BlankServer
from placement.profiles import HOST, LinkTime
from placement.types import Device, Plan, Stage

#: Tokens of the batches that are sent; the bytes follow from the model's width.
TOKENS = (1, 4, 16, 48, 128, 320)
REPEATS = 30
WARM_UP_ROUNDS = 3

Route = tuple[Device, ...]


def routes(devices: Sequence[Device]) -> tuple[Route, ...]:
    """Ways there and back that take every link between `devices` and the host, those of the first devices first."""
    pairs = [(one, other, one) for one, other in combinations(devices, 2)]
    return (*pairs, (devices[-1],))


def measure_route(folder: Path, config: ModelConfig, route: Route) -> tuple[LinkTime, ...]:
    """Every link of a way there and back: host, a, b, a, host, or host, a, host. Starts stages on Ray."""
    plan = _plan(config, route)
    phase: Phase = "decode" if isinstance(config, DecoderConfig) else "encode"
    shapes = tuple(Shape(phase, tokens, 1) for tokens in TOKENS)
    with closing(ActorPipeline(folder, plan, kv_for(shapes, config), server=BlankServer)) as pipeline:
        taken = _take_all(pipeline, shapes)
    return tuple(
        link for shape, steps in taken.items() for link in _links(route, _sizes(shape, config.hidden_size), steps)
    )


def _plan(config: ModelConfig, route: Route) -> Plan:
    """One stage a device; what they hold does not matter, for they are blank."""
    stages = (Stage(device, device.engines[0], 0, config.block_count, device.precisions[0]) for device in route)
    return Plan(tuple(stages), "its links are measured")


def _take_all(pipeline: Pipeline, shapes: Sequence[Shape]) -> dict[Shape, list[Step]]:
    """Shapes take turns, so that a disturbance hits them alike."""
    taken: dict[Shape, list[Step]] = defaultdict(list)
    for number in range(WARM_UP_ROUNDS + REPEATS):
        for shape in shapes:
            step = take_step(pipeline, make_batch(shape))
            if number >= WARM_UP_ROUNDS:
                taken[shape].append(step)
    return taken


def _sizes(shape: Shape, width: int) -> tuple[int, int, int]:
    """Bytes of what goes to the first stage, from stage to stage, and back to the host."""
    result = BatchResult(0, "decode", tokens=(SampledToken(0),) * shape.sequence_count)
    to_host = 4 * width * shape.tokens if shape.phase == "encode" else _bytes(result)
    return _bytes(make_batch(shape)), 4 * width * shape.tokens, to_host


def _bytes(message: Message) -> int:
    return len(wire.encode(message)[1])


def _links(route: Route, sizes: tuple[int, int, int], steps: Sequence[Step]) -> Iterator[LinkTime]:
    to_first, between, to_host = sizes
    each = [to_first, *[between] * (len(route) - 1), to_host]
    names = [HOST, *(device.name for device in route), HOST]
    nodes = ["", *(device.node for device in route), ""]
    columns = zip(*(way_seconds(step, nodes) for step in steps), strict=True)
    for (source, target), size, seconds in zip(pairwise(names), each, columns, strict=True):
        yield LinkTime(source, target, size, seconds)


def host_links(device: Device, width: int, shape: Shape, steps: Sequence[Step]) -> tuple[LinkTime, LinkTime]:
    """The links from and to the host, out of steps through stages of one device that do compute."""
    to_first, _, to_host = _sizes(shape, width)
    nodes = ["", *[device.node for _ in steps[0].traces], ""]
    ways = [way_seconds(step, nodes) for step in steps]
    return (
        LinkTime(HOST, device.name, to_first, tuple(way[0] for way in ways)),
        LinkTime(device.name, HOST, to_host, tuple(way[-1] for way in ways)),
    )


def way_seconds(step: Step, nodes: Sequence[str]) -> list[float]:
    """Seconds of every link of one way there and back.

    Clocks of two machines differ; but what one way gains by that the way back loses, so each is half of both there.
    """
    gaps = gaps_of(step)
    back = reversed(gaps)
    return [
        max(0.0, there if source == target else (there + again) / 2)
        for (source, target), there, again in zip(pairwise(nodes), gaps, back, strict=True)
    ]
