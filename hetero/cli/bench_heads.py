"""`hetero bench heads`: accuracy against epsilon, and what an attacker reads from noised vectors."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, table, work_progress
from hetero.cli.running import read_settings, running

if TYPE_CHECKING:
    from hetero.bench.head_accuracy import Accuracy
    from hetero.bench.inversion import Inversion

Train = Annotated[Path, typer.Option("--train", help="A TSV file to train on: text, tab, label.", metavar="FILE")]
Test = Annotated[Path, typer.Option("--test", help="A TSV file to test on.", metavar="FILE")]
Epsilons = Annotated[list[float] | None, typer.Option("--epsilon", help="An epsilon; several: 1, 4 and 8.")]


def heads(
    model: options.Model,
    train: Train,
    test: Test,
    epsilon: Epsilons = None,
    plan: options.Plan = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Measure what each mechanism leaves of a classifier on a model's vectors; delta is 1e-6."""
    from hetero.bench.head_accuracy import AccuracyTrial, Split
    from hetero.bench.inversion import CANDIDATES, measure_identification, usual_words
    from hetero.head_training import embed_all, read_rows

    epsilons = tuple(epsilon or (1.0, 4.0, 8.0))
    rows = read_rows(train), read_rows(test)
    settings = read_settings(config, {"plan": plan, "address": address})
    with only_results_on_stdout() if as_json else nullcontext(), work_progress("measuring") as tell:
        with running(model, settings) as runtime:
            splits = [Split(part, embed_all(runtime, part.texts, tell)) for part in rows]
            words = embed_all(runtime, usual_words(rows[0].texts, CANDIDATES), tell)
        trial = AccuracyTrial(model, splits[0], splits[1])
        lines, attacks = list(trial.run(epsilons, tell)), trial.inversion(epsilons)
        known = {
            "sentences": measure_identification(splits[1].vectors[:CANDIDATES], epsilons),
            "single words": measure_identification(words, epsilons),
        }
        if as_json:
            told = {name: [asdict(one) for one in each] for name, each in known.items()}
            document = {"accuracy": [asdict(line) for line in lines], "inversion": [asdict(one) for one in attacks]}
            print_json({**document, "identification": told})
            return
    _show(lines, attacks, epsilons)
    _show_known(known, epsilons)


def _show_known(known: "dict[str, list[Inversion]]", epsilons: tuple[float, ...]) -> None:
    made = table("which of the known texts it was", *(f">epsilon {epsilon:g}" for epsilon in epsilons))
    for name, attacks in known.items():
        made.add_row(name, *(f"{one.recovered:.2%} ({one.recovered / one.chance:.1f} times chance)" for one in attacks))
    out().print()
    out().print(made)


def _show(lines: "list[Accuracy]", attacks: "list[Inversion]", epsilons: tuple[float, ...]) -> None:
    made = table("mechanism", *(f">epsilon {epsilon:g}" for epsilon in epsilons), ">none")
    found = {(line.mechanism, line.epsilon): f"{line.accuracy:.1%}" for line in lines}
    for name in dict.fromkeys(line.mechanism for line in lines if line.epsilon is not None):
        made.add_row(name, *(found[name, epsilon] for epsilon in epsilons), found["none", None])
    if attacks:
        words = {attack.epsilon: f"{attack.recovered:.1%}" for attack in attacks}
        made.add_row("a word told from the vector", *(words[epsilon] for epsilon in epsilons), words[None])
    out().print(made)
    if attacks:
        out().print(f"\nguessing the commonest word: {attacks[0].chance:.1%}", markup=False)
