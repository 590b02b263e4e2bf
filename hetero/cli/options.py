"""The options that several commands share, each written once. Knows typer; nothing of what the values do."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A folder, a hub id, or `tiny`.", metavar="MODEL", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Config = Annotated[Path | None, typer.Option("--config", help="A YAML file of settings.", metavar="FILE")]
Plan = Annotated[
    str | None,
    typer.Option("--plan", help="Which device runs which blocks, for example cpu/openvino:0-2,npu:2-5."),
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="fp32, bf16 or fp16, for every stage that names none.")
]
Context = Annotated[int | None, typer.Option("--context", help="Tokens of prompt and answer together.")]
MaxSequences = Annotated[int | None, typer.Option("--max-sequences", help="Requests that run at the same time.")]
Exits = Annotated[
    str | None,
    typer.Option(
        "--exits",
        help="auto: as a calibration allows; off: full depth. For decoders, verify: early blocks draft, later ones"
        " verify; skip, release: an exit's tokens are taken at its word, as calibrated.",
    ),
]
DraftDepth = Annotated[
    int | None,
    typer.Option("--draft-depth", help="With `--exits verify`: how many blocks draft. None: the first stage."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="A running Ray cluster to use, instead of one on this machine.")
]
Policy = Annotated[
    Path | None, typer.Option("--policy", help="Who may ask what, at which price in privacy; YAML.", metavar="FILE")
]
Heads = Annotated[
    list[Path] | None,
    typer.Option("--head", help="A folder of `hetero train-head`; its name names it.", metavar="FOLDER"),
]
Encrypted = Annotated[
    list[Path] | None,
    typer.Option(
        "--encrypted",
        help="Under a policy: a head or an index that is applied to ciphertexts; its name is a model of the policy.",
        metavar="FILE",
    ),
]
Documents = Annotated[
    Path | None,
    typer.Option(
        "--documents",
        help="Under a policy: private documents, one a .txt or .md file, about which its rules let texts be written.",
        metavar="FOLDER",
    ),
]

MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Tokens to generate at most.")]
Temperature = Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option("--top-k", help="Sample among the K likeliest; 0: all.")]
TopP = Annotated[float, typer.Option("--top-p", help="Sample among the likeliest that sum up to P.")]
MinP = Annotated[float, typer.Option("--min-p", help="Leave out what is less likely than P times the likeliest.")]
RepetitionPenalty = Annotated[float, typer.Option("--repetition-penalty", help="Above 1: avoid tokens seen before.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same text.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", help="End before this text; may be given several times.")]
LogProbs = Annotated[
    int | None, typer.Option("--logprobs", help="Report log-probabilities, with N alternatives a token.")
]
