"""Trains the embedded default model `tiny`: a small Llama on plain public-domain text, useful at inner layers too.

Knows loss and schedule, and writes a Hugging Face folder; `tiny_model.py` beside it knows the model's shape,
`tiny_text.py` the data. Knows nothing of the runtime that serves it. To train as the card in `hetero/tiny` says:

    sh examples/collect_texts.sh texts
    python examples/train_tiny.py texts/*.txt tinyshakespeare.txt --work work --output hetero/tiny

The loss is the cross entropy of the last layer plus that of the shared norm and head after inner blocks, with the
weights of `EXITS` (Elhoushi et al. 2024, "LayerSkip"; Schuster et al. 2022, "Confident Adaptive Language Modeling").
The schedule runs on wall-clock time spent, so that a busy machine ends on time; a stopped run goes on where it was.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tiny_model import CONTEXT, EXITS, exit_logits, new_model
from tiny_text import END, encode, load_or_train_tokenizer, split
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run has seen and reached; losses are nats a token on the held-out passages, keyed by blocks run."""

    seconds: float
    steps: int
    tokens: int
    losses: dict[int, float]
    agreement: dict[int, float]  # share of positions where the exit's first choice is the last layer's

    @property
    def final_loss(self) -> float:
        return self.losses.get(max(EXITS), math.inf)


def training_loss(model: LlamaForCausalLM, window: Tensor) -> Tensor:
    """Mean of the exits' losses, weighted by `EXITS`, on windows of token ids [B, T + 1]."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = exit_logits(model, window[:, :-1], stride=2)  # windows start anywhere, so no position is left out
    total = torch.zeros(())
    for e, weight in EXITS.items():
        targets = window[:, 1:] if e == max(EXITS) else window[:, 1::2]
        total = total + weight * cross_entropy(logits[e].float().flatten(0, 1), targets.flatten())
    return total / sum(EXITS.values())


@torch.no_grad()
def evaluate(model: LlamaForCausalLM, stream: Tensor, figures: Figures, quick: bool) -> Figures:
    """Losses and agreement on the whole held-out stream in fp32, or (quick) on a tenth of its windows in bf16."""
    starts = range(0, len(stream) - CONTEXT, CONTEXT)
    starts = starts[:: 10 if quick else 1]
    losses = dict.fromkeys(EXITS, 0.0)
    agreement = dict.fromkeys(EXITS, 0.0)
    for start in starts:
        window = stream[start : start + CONTEXT + 1]
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            logits = exit_logits(model, window[None, :-1])
        choice = logits[max(EXITS)][0].argmax(-1)
        for e in EXITS:
            losses[e] += float(cross_entropy(logits[e][0].float(), window[1:])) / len(starts)
            agreement[e] += float((logits[e][0].argmax(-1) == choice).float().mean()) / len(starts)
    return replace(figures, losses=losses, agreement=agreement)


def new_optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices (Jordan 2024), AdamW for the rest; each group remembers its peak rate."""
    matrices = [w for name, w in model.named_parameters() if w.ndim == 2 and ".layers." in name]
    others = [w for name, w in model.named_parameters() if w.ndim == 1 or ".layers." not in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak"] = rate
    return optimizers


def schedule(done: float) -> float:
    """Share of the peak rate after the share `done` of the time: 2 % warm-up, then a cosine down to 2 %."""
    return done / 0.02 if done < 0.02 else 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, done)))


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """`tokenizer.json` and a `tokenizer_config.json` that transformers 4 and 5 read alike; no chat template."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": END, "eos_token": END, "model_max_length": CONTEXT}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


class Run:
    """One training run: owns model, optimizers and figures, and keeps them in `work` to go on after a stop."""

    def __init__(self, files: list[Path], work: Path, rate: float) -> None:
        work.mkdir(parents=True, exist_ok=True)
        learn, held_out = split(files)
        self.work = work
        self.tokenizer = load_or_train_tokenizer(work / "tokenizer.json", learn)
        self.learn, self.held_out = encode(self.tokenizer, learn), encode(self.tokenizer, held_out)
        if len(self.held_out) <= CONTEXT:
            raise typer.BadParameter("too little text: the passages held out are shorter than one window.")
        self.model = new_model()
        self.optimizers = new_optimizers(self.model, rate)
        self.figures = Figures(0.0, 0, 0, {}, {})
        self.best = math.inf
        if (work / "checkpoint.pt").exists():
            self.resume()

    def resume(self) -> None:
        state = torch.load(self.work / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.figures, self.best = Figures(**state["figures"]), state["best"]

    def keep(self) -> None:
        """Writes the checkpoint, and the folder `best` where the held-out loss is the best so far."""
        if self.figures.final_loss < self.best:
            self.best = self.figures.final_loss
            self.export(self.work / "best")
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"model": self.model.state_dict(), "optimizers": optimizers, "best": self.best}
        torch.save(state | {"figures": asdict(self.figures)}, self.work / "checkpoint.new")
        os.replace(self.work / "checkpoint.new", self.work / "checkpoint.pt")

    def export(self, folder: Path) -> None:
        """A Hugging Face folder with fp16 weights; the training goes on in fp32."""
        stored = new_model()
        torch.nn.Module.half(stored)
        stored.load_state_dict(self.model.state_dict())
        stored.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        write_tokenizer(self.tokenizer, folder)

    def windows(self, count: int) -> Tensor:
        """`count` random windows, int64 [count, CONTEXT + 1]; seeded by the step, so a resumed run repeats none."""
        random = torch.Generator().manual_seed(self.figures.steps)
        starts = torch.randint(len(self.learn) - CONTEXT - 1, (count, 1), generator=random)
        return self.learn[starts + torch.arange(CONTEXT + 1)]

    def step(self, loss_of: Callable[[LlamaForCausalLM, Tensor], Tensor], count: int, seconds: float) -> float:
        """One update on `count` windows; its loss."""
        began = time.monotonic()
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * schedule(self.figures.seconds / seconds)
        loss = loss_of(self.model, self.windows(count))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen = self.figures
        spent = seen.seconds + time.monotonic() - began
        self.figures = replace(seen, seconds=spent, steps=seen.steps + 1, tokens=seen.tokens + count * CONTEXT)
        return loss.item()


def describe(figures: Figures, loss: float) -> str:
    exits = " ".join(f"{e}:{figures.losses[e]:.3f}/{figures.agreement[e]:.2f}" for e in figures.losses)
    return f"step {figures.steps} tokens {figures.tokens / 1e6:.2f}M loss {loss:.3f} held out {exits}"


def train(run: Run, seconds: float, batch: int, every: float, compiled: bool) -> None:
    """Steps until `seconds` of training are spent, with an evaluation and a checkpoint every `every` seconds."""
    loss_of = torch.compile(training_loss) if compiled else training_loss
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(soft_wrap=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("training", total=seconds)
        due = run.figures.seconds + every
        while run.figures.seconds < seconds:
            loss = run.step(loss_of, batch, seconds)
            progress.update(bar, completed=run.figures.seconds, description=f"loss {loss:.3f}")
            if run.figures.seconds >= min(due, seconds):
                due = run.figures.seconds + every
                run.figures = evaluate(run.model, run.held_out, run.figures, quick=True)
                run.keep()
                console.print(describe(run.figures, loss), highlight=False)


def finish(run: Run, output: Path) -> None:
    """Copies the best export to `output` and prints what its stored weights reach on all held-out text."""
    best = run.work / "best"
    shutil.copytree(best, output, dirs_exist_ok=True)
    stored = LlamaForCausalLM.from_pretrained(output, dtype=torch.float32)
    figures = evaluate(stored, run.held_out, run.figures, quick=False)
    print(json.dumps(asdict(figures), indent=1))


def main(
    data: Annotated[list[Path], typer.Argument(help="Plain text files.", exists=True)],
    output: Annotated[Path, typer.Option(help="Folder for the finished model.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints; a run goes on from the one it finds.")],
    minutes: Annotated[float, typer.Option(help="Time spent on updates, over all resumed runs.")] = 50.0,
    batch: Annotated[int, typer.Option(help="Windows of 512 tokens an update.")] = 8,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    every: Annotated[float, typer.Option(help="Seconds between evaluations.")] = 120.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the loss (needs g++).")] = True,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Train the embedded model and write it as a Hugging Face folder."""
    torch.set_num_threads(threads)
    run = Run(sorted(data), work, rate)
    print(f"{len(run.learn)} tokens to learn from, {len(run.held_out)} held out")
    train(run, minutes * 60, batch, every, compiled)
    finish(run, output)


if __name__ == "__main__":
    typer.run(main)
