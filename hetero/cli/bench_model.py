"""The model of a benchmark: one that the user has, or random weights of a given shape."""

from pathlib import Path
from typing import Annotated

import typer

from hetero.cli.output import file_progress
from hetero.errors import InvalidRequestError

MaybeModel = Annotated[str | None, typer.Argument(help="A folder, a hub id, or `tiny`.", metavar="[MODEL]")]
RandomConfig = Annotated[
    str | None, typer.Option("--random-config", help="Instead of MODEL: a JSON file of a Llama's sizes, or `0.4b`.")
]


def model_folder(model: str | None, random_config: str | None) -> Path:
    """The folder of one or the other. Raises InvalidRequestError unless exactly one is given."""
    from hetero.bench.random_model import random_checkpoint, read_random_config
    from hetero.models.source import resolve

    if (model is None) == (random_config is None):
        raise InvalidRequestError("give either a MODEL or --random-config, for example --random-config 0.4b")
    if model is not None:
        return resolve(model)
    with file_progress("writing random weights") as tell:
        return random_checkpoint(read_random_config(str(random_config)), tell)
