"""From a command's flags to a running runtime, and to sampling parameters. Shared by every command that computes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.cli.output import note, starting
from hetero.config import Settings, load_settings
from hetero.types import SamplingParams
from hetero.validation import check_sampling

if TYPE_CHECKING:
    from hetero.confinement import Confinement
    from hetero.runtime import Runtime


def read_settings(config: Path | None, flags: Mapping[str, object]) -> Settings:
    """Merge file, environment and flags."""
    return load_settings(config, os.environ, flags)


def check_early(model: str, sampling: SamplingParams) -> None:
    """Refuse wrong sampling values, and an encoder, before anything is started.

    Raises InvalidRequestError or ModelError.
    """
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.purposes import require_decoder

    config = require_decoder(model, read_config(resolve(model)))
    check_sampling(sampling, config.vocabulary_size)


def check_encoder(model: str, classifies: bool) -> None:
    """Refuse a model that gives no vectors, or no classes, before anything is started. Raises like `check_early`."""
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.purposes import require_classifier, require_embedder

    require = require_classifier if classifies else require_embedder
    require(model, read_config(resolve(model)))


def start(model: str, settings: Settings, confinement: "Confinement | None" = None) -> "Runtime":
    """Start a runtime; a terminal sees how, and of an automatic plan why it was chosen. The caller closes it."""
    from hetero.automatic import asked_objective
    from hetero.runtime import Runtime

    chosen = asked_objective(settings.plan) is not None
    with starting() as tell:
        runtime = Runtime(
            model,
            settings.plan,
            precision=settings.precision,
            context=settings.context,
            address=settings.address,
            max_sequences=settings.max_sequences,
            max_batch_tokens=settings.max_batch_tokens,
            max_waiting=settings.max_waiting,
            kv_blocks=settings.kv_blocks,
            threads=settings.threads,
            cache=settings.cache,
            exits=settings.exits,
            draft_depth=settings.draft_depth,
            confinement=confinement,
            on_progress=tell,
        )
    if chosen:
        note().print(runtime.plan.reason, style="dim", markup=False, soft_wrap=True)
    return runtime


@contextmanager
def running(model: str, settings: Settings, confinement: "Confinement | None" = None) -> Iterator["Runtime"]:
    """A runtime that is closed at the end, however the end comes."""
    with start(model, settings, confinement) as runtime:
        yield runtime
