"""Which plans to compare predictions on: every measured option alone, and cuts over two and three devices.

Knows options; neither predicts nor measures. The same options always give the same plans.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations, islice, permutations, product
from random import Random

from hetero.profiling.options import Option
from placement import Plan, Stage
from placement.profiles import Profile

#: Of the plans asked for, so many parts are single devices and cuts over three.
SINGLE_SHARE, TRIPLE_SHARE = 0.35, 0.15


def measured_options(options: Sequence[Option], profile: Profile) -> tuple[Option, ...]:
    """Those of `options` whose whole model and whose segments were measured, and that no engine refused."""
    count = profile.block_count
    refused = {(refusal.device, refusal.engine, refusal.precision) for refusal in profile.refusals}
    ranges: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
    for time in profile.segments:
        ranges.setdefault((time.device, time.engine, time.precision), set()).add((time.first, time.last))
    known = {key for key, found in ranges.items() if (0, count) in found and (len(found) > 1 or count == 1)} - refused
    return tuple(option for option in options if (option.device.name, option.engine, option.precision) in known)


def only_options(profile: Profile, options: Sequence[Option]) -> Profile:
    """The profile without times of other options: what was measured in part is not to be chosen."""
    known = {(option.device.name, option.engine, option.precision) for option in options}
    return replace(
        profile,
        segments=tuple(time for time in profile.segments if (time.device, time.engine, time.precision) in known),
        refusals=(),
    )


def list_plans(options: Sequence[Option], block_count: int, count: int) -> tuple[Plan, ...]:
    """About `count` different plans, or fewer where there are no more."""
    random = Random(0)
    singles = [((option,), (0, block_count)) for option in options]
    pairs, triples = (_shuffled(options, block_count, stages, random) for stages in (2, 3))
    single_count = min(len(singles), max(1, round(SINGLE_SHARE * count)))
    triple_count = min(len(triples), round(TRIPLE_SHARE * count))
    pair_count = min(len(pairs), count - single_count - triple_count)
    chosen = chain(islice(singles, single_count), islice(pairs, pair_count), islice(triples, triple_count))
    rest = chain(singles[single_count:], triples[triple_count:])
    missing = count - single_count - pair_count - triple_count
    return tuple(_plan(*each) for each in chain(chosen, islice(rest, missing)))


Cut = tuple[tuple[Option, ...], tuple[int, ...]]


def _shuffled(options: Sequence[Option], block_count: int, stages: int, random: Random) -> list[Cut]:
    """All plans of so many stages on different devices, cut at quarters, in a random order."""
    quarters = sorted({max(1, round(block_count * part / 4)) for part in (1, 2, 3)} - {block_count})
    cuts = [(0, *inner, block_count) for inner in combinations(quarters, stages - 1)]
    found = [
        (chosen, cut)
        for chosen, cut in product(permutations(options, stages), cuts)
        if len({option.device.name for option in chosen}) == stages
    ]
    random.shuffle(found)
    return found


def _plan(options: Sequence[Option], cuts: Sequence[int]) -> Plan:
    stages = (
        Stage(option.device, option.engine, first, last, option.precision)
        for option, first, last in zip(options, cuts[:-1], cuts[1:], strict=True)
    )
    return Plan(tuple(stages), "predictions are compared")
