"""Trains a model of 52 million weights whose first four blocks draft well: to measure what `--exits verify` saves.

It starts as the embedded model, grown (`drafter_model.py`), and learns from the same texts:

    sh examples/collect_texts.sh texts
    python examples/train_drafter.py texts/*.txt --work work --output drafter

Knows schedule and files. The schedule runs on time spent in updates; a stopped run goes on where it was.
"""

import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from drafter_model import BLOCKS, EXIT, exit_and_last, grown, new_model, training_loss
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tiny_model import CONTEXT
from tiny_text import encode, load_or_train_tokenizer, split
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from train_tiny import new_optimizers, schedule, write_tokenizer
from transformers import LlamaForCausalLM

#: A step during which the machine stood still counts no more than this.
LONGEST_STEP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run has seen and reached on held-out text: nats a token after the exit and after all blocks, and the share
    of positions where the exit's first choice is the last block's."""

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0
    exit_loss: float = 0.0
    last_loss: float = 0.0
    agreement: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.seconds / 60:.1f} minutes, {self.steps} updates, {self.tokens:,} tokens; held out:"
            f" {self.exit_loss:.3f} nats after {EXIT} blocks, {self.last_loss:.3f} after {BLOCKS},"
            f" agreement {self.agreement:.1%}"
        )


@torch.no_grad()
def evaluate(model: LlamaForCausalLM, stream: Tensor, figures: Figures, every: int = 1) -> Figures:
    """Figures of every `every`-th window of the held-out stream."""
    starts = range(0, len(stream) - CONTEXT, CONTEXT * every)
    sums = torch.zeros(3)
    for start in starts:
        window = stream[start : start + CONTEXT + 1]
        with torch.autocast("cpu", torch.bfloat16):
            both = [logits[0].float() for logits in exit_and_last(model, window[None, :-1])]
        same = (both[0].argmax(-1) == both[1].argmax(-1)).float().mean()
        sums += torch.stack([*(cross_entropy(logits, window[1:]) for logits in both), same])
    exit_loss, last_loss, agreement = (sums / len(starts)).tolist()
    return replace(figures, exit_loss=exit_loss, last_loss=last_loss, agreement=agreement)


class Run:
    """One training run: owns model, optimizers and figures, and keeps them in `work` to go on after a stop."""

    def __init__(self, files: list[Path], start: Path, work: Path, rate: float, compiled: bool) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._checkpoint = work / "checkpoint.pt"
        small = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        self.tokenizer: Tokenizer = load_or_train_tokenizer(start / "tokenizer.json", [])
        self.learn, self.held_out = (encode(self.tokenizer, texts) for texts in split(files))
        self.figures, self.shape = Figures(), small.config
        held = torch.load(self._checkpoint, weights_only=True) if self._checkpoint.exists() else None
        self.model = new_model(self.shape) if held else grown(small)
        self.optimizers = new_optimizers(self.model, rate)
        if held:
            self._resume(held)
        if compiled:
            for block in self.model.model.layers:
                block.compile()  # one block's graph serves them all

    def _resume(self, state: dict[str, object]) -> None:
        self.figures = Figures(**state["figures"])  # type: ignore[arg-type]
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):  # type: ignore[call-overload]
            optimizer.load_state_dict(held)

    def keep(self) -> None:
        state: dict[str, object] = {"model": self.model.state_dict(), "figures": asdict(self.figures)}
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        new = self._checkpoint.with_suffix(".new")
        torch.save(state, new)
        os.replace(new, self._checkpoint)

    def _windows(self, count: int) -> Tensor:
        """`count` random windows, int64 [count, CONTEXT + 1]; seeded by the step, so a resumed run repeats none."""
        random = torch.Generator().manual_seed(self.figures.steps)
        starts = torch.randint(len(self.learn) - CONTEXT - 1, (count, 1), generator=random)
        return self.learn[starts + torch.arange(CONTEXT + 1)]

    def step(self, count: int, seconds: float) -> float:
        """One update on `count` windows, of a run of `seconds`; its loss."""
        began = time.monotonic()
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * schedule(self.figures.seconds / seconds)
        loss = training_loss(self.model, self._windows(count))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen, spent = self.figures, min(time.monotonic() - began, LONGEST_STEP_SECONDS)
        self.figures = replace(
            seen, seconds=seen.seconds + spent, steps=seen.steps + 1, tokens=seen.tokens + count * CONTEXT
        )
        return loss.item()

    def export(self, folder: Path) -> None:
        """A Hugging Face folder with fp16 weights and a card; the training goes on in fp32."""
        stored = new_model(self.shape)
        torch.nn.Module.half(stored)
        stored.load_state_dict(self.model.state_dict())
        stored.save_pretrained(folder)
        write_tokenizer(self.tokenizer, folder)
        (folder / "CARD.md").write_text(CARD.format(exit=EXIT, blocks=BLOCKS, figures=self.figures), encoding="utf-8")


CARD = """# A model that drafts with its first {exit} of {blocks} blocks

For measuring what verified drafts save; it writes like the embedded model, from which it was grown, and is of no other
use. Trained on plain public-domain text by `examples/train_drafter.py`, on the loss of the last block, that of the
exit, and the exit's divergence from the last block.

Beyond the embedded model's own training: {figures}.
"""


def train(run: Run, seconds: float, batch: int, every: float) -> None:
    """Steps until `seconds` of training are spent, with an evaluation and a checkpoint every `every` seconds."""
    console = Console(soft_wrap=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("training", total=seconds)
        due = run.figures.seconds + every
        while run.figures.seconds < seconds:
            loss = run.step(batch, seconds)
            progress.update(bar, completed=run.figures.seconds, description=f"loss {loss:.3f}")
            if run.figures.seconds >= min(due, seconds):
                due = run.figures.seconds + every
                run.figures = evaluate(run.model, run.held_out, run.figures, every=20)
                run.keep()
                console.print(str(run.figures), highlight=False)


def main(
    data: Annotated[list[Path], typer.Argument(help="Plain text files.", exists=True)],
    output: Annotated[Path, typer.Option(help="Folder for the finished model.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints; a run goes on from the one it finds.")],
    start: Annotated[Path, typer.Option(help="The model that is grown.")] = Path("hetero/tiny"),
    minutes: Annotated[float, typer.Option(help="Time spent on updates, over all resumed runs.")] = 40.0,
    batch: Annotated[int, typer.Option(help="Windows of 512 tokens an update.")] = 8,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    every: Annotated[float, typer.Option(help="Seconds between evaluations.")] = 120.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the blocks (needs g++).")] = True,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Train the model and write it as a Hugging Face folder with a card."""
    torch.set_num_threads(threads)
    run = Run(sorted(data), start, work, rate, compiled)
    print(f"{len(run.learn)} tokens to learn from, {len(run.held_out)} held out")
    train(run, minutes * 60, batch, every)
    run.figures = evaluate(run.model, run.held_out, run.figures)
    run.export(output)
    print(run.figures)


if __name__ == "__main__":
    typer.run(main)
