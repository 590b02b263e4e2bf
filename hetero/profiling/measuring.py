"""A whole profile in bounded time: the most valuable measurements first, the rest left to the prior, and said which.

Knows in which order things are worth knowing and how long each kind has taken; the measurements are beside it. Ray must
be connected.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean

from hetero.errors import BackendError
from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config import ModelConfig
from hetero.profiling.contention import measure_contention
from hetero.profiling.findings import Findings, is_measured, is_refused, spread_of
from hetero.profiling.links import measure_route, routes
from hetero.profiling.options import Option, segment_ranges, sharing_pairs
from hetero.profiling.segments import measure_segments, shapes_for
from placement.profiles import HOST, Profile
from placement.types import Device

#: What one measurement may take once its stages run, of its equal part of the budget (the rest is starting them), and
#: within bounds.
MEASURING_SHARE = 0.5
MEASURING_SECONDS = (1.0, 8.0)
#: A link and the first option's times: without them there is no profile, however short the time.
NEEDED_TASKS = 2
CONTENTION = "contention"
#: Quartiles of repeats that lie further apart, relative to the median, tell of something else that ran: such a
#: measurement is taken again at the end, and the calmer one of the two counts.
DISTURBED_SPREAD = 0.15
#: Part of a device's free memory that a measurement fills at most.
USABLE_SHARE = 0.8

#: Called with measurements done, their number, and what is measured now.
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is measured, and the context that its stages are compiled for."""

    folder: Path
    config: ModelConfig
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement. `kind` groups those that take about as long; `run` puts what it finds into its second
    argument; the first is what was found before it."""

    kind: str
    text: str
    run: Callable[[Findings, Findings, float], None]


def measure_all(
    subject: Subject,
    options: Sequence[Option],
    budget_seconds: float,
    tell: Tell,
    *,
    known: Profile | None = None,
    contention: bool = True,
) -> Findings:
    """Measure `options` and what lies between their devices, in about `budget_seconds`.

    What is `known` is not measured again; `contention` of devices is measured unless it is not wanted.
    """
    findings = Findings()
    tasks = [task for task in _tasks(subject, options, known) if contention or task.kind != CONTENTION]
    _run(tasks, findings, budget_seconds, tell)
    return findings


def _run(tasks: Sequence[Task], findings: Findings, budget_seconds: float, tell: Tell) -> None:
    """Each task once while there is time; then those again that something disturbed, the worst first."""
    started, taken = time.monotonic(), defaultdict[str, list[float]](list)
    seconds = MEASURING_SHARE * budget_seconds / max(1, len(tasks))
    seconds = min(max(seconds, MEASURING_SECONDS[0]), MEASURING_SECONDS[1])

    def is_time_for(task: Task) -> bool:
        expected = mean(taken[task.kind]) if taken[task.kind] else 0.0
        return time.monotonic() - started + expected < budget_seconds

    def run(task: Task) -> Findings:
        begun, found = time.monotonic(), Findings()
        task.run(findings, found, seconds)
        taken[task.kind].append(time.monotonic() - begun)
        return found

    done: list[tuple[Task, Findings]] = []
    for number, task in enumerate(tasks):
        if number >= NEEDED_TASKS and not is_time_for(task):
            findings.left_out.append(task.text)
            continue
        tell(number, len(tasks), task.text)
        done.append((task, run(task)))
        findings.refusals += done[-1][1].refusals
    for place in sorted(range(len(done)), key=lambda place: -spread_of(done[place][1])):
        task, before = done[place]
        if spread_of(before) > DISTURBED_SPREAD and is_time_for(task):
            tell(len(tasks), len(tasks), f"{task.text}, again")
            done[place] = task, min(before, run(task), key=spread_of)
    for _, found in done:
        findings.pool(replace(found, refusals=[]))
    tell(len(tasks), len(tasks), "done")


def _tasks(subject: Subject, options: Sequence[Option], known: Profile | None) -> Iterator[Task]:
    """A first link; each device's best option and what joins devices; all other options. Emulated devices come last."""
    first = {option.device.name: option for option in reversed(options)}
    mains = [option for option in options if first[option.device.name] == option]
    links = {(link.source, link.target) for link in known.links} if known else set()
    pairs = {frozenset(both.devices) for both in known.contentions} if known else set()
    for emulated in (False, True):
        some = [option for option in mains if option.device.emulated == emulated]
        yield from _link_tasks(subject, [option.device for option in some[:2]], links)
        yield from (task for option in some for task in _option_tasks(subject, option, known))
        joined = [option.device for option in mains if option.device.emulated <= emulated]
        yield from _link_tasks(subject, joined, links)
        yield from _contention_tasks(subject, first, joined, pairs)
        others = [option for option in options if option not in mains and option.device.emulated == emulated]
        yield from (task for option in others for task in _option_tasks(subject, option, known))


def _option_tasks(subject: Subject, option: Option, known: Profile | None) -> Iterator[Task]:
    if is_refused(known, option):
        return
    count = subject.config.block_count
    if not is_measured(known, option, [(0, count)]) and _fits(subject, option):
        yield Task(
            f"{option.engine} whole", f"{option}, all blocks", partial(_segments, subject, option, ((0, count),))
        )
    ranges = segment_ranges(count)
    if count > 1 and not is_measured(known, option, ranges):
        yield Task(f"{option.engine} parts", f"{option}, segments", partial(_segments, subject, option, ranges))


def _fits(subject: Subject, option: Option) -> bool:
    """Whether the whole model fits on the device; its KV cache is small while it is measured."""
    layers = describe_layers(subject.folder, subject.config, option.precision)
    head = describe_ends(subject.folder, subject.config, option.precision).head_bytes
    return sum(layer.weight_bytes for layer in layers) + head <= USABLE_SHARE * option.device.memory_bytes


def _segments(
    subject: Subject,
    option: Option,
    ranges: tuple[tuple[int, int], ...],
    before: Findings,
    found: Findings,
    seconds: float,
) -> None:
    if is_refused(before, option):
        return
    shapes = shapes_for(subject.config, option.device.static_shapes, subject.context_tokens)
    try:
        measured = measure_segments(
            subject.folder, subject.config, option, ranges, shapes, subject.context_tokens, seconds
        )
    except BackendError as error:
        found.refuse(option, str(error))
        return
    found.segments += measured.times
    found.memory += measured.memory
    found.add_links(measured.links)


def _link_tasks(subject: Subject, devices: Sequence[Device], known: set[tuple[str, str]]) -> Iterator[Task]:
    """Ways that take a link which is not `known`; those that they take are known from then on."""
    for route in routes(devices) if devices else ():
        names = [HOST, *(device.name for device in route), HOST]
        if not known.issuperset(pairwise(names)):
            known.update(pairwise(names))
            ends = " and ".join(dict.fromkeys(names[:-1] if len(route) == 1 else names[1:-1]))
            yield Task("links", f"the links of {ends}", partial(_links, subject, route))


def _links(subject: Subject, route: tuple[Device, ...], before: Findings, found: Findings, seconds: float) -> None:
    found.add_links(measure_route(subject.folder, subject.config, route))


def _contention_tasks(
    subject: Subject, mains: Mapping[str, Option], devices: Sequence[Device], known: set[frozenset[str]]
) -> Iterator[Task]:
    for one, other in sharing_pairs(devices):
        pair = frozenset((one.name, other.name))
        if pair not in known:
            known.add(pair)
            options = (mains[one.name], mains[other.name])
            yield Task(CONTENTION, f"{one.name} and {other.name} at once", partial(_contention, subject, options))


def _contention(
    subject: Subject, options: tuple[Option, Option], before: Findings, found: Findings, seconds: float
) -> None:
    """Left to the assumption of the cost model where one of the two does not run."""
    shape = shapes_for(subject.config, any(o.device.static_shapes for o in options), subject.context_tokens)[0]
    if not any(is_refused(before, option) for option in options):
        found.contentions.append(measure_contention(subject.folder, subject.config, options, shape, seconds))
