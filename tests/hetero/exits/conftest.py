"""A small classifier with exits, trained in a second, for the tests of this folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hetero import Runtime
from hetero.exits.calibration import Wishes, calibrate
from hetero.exits.making import make_frozen
from hetero.exits.report_files import write_report
from hetero.exits.texts import LabelledTexts

WORDS = ("cat", "dog", "sea", "sun", "grey", "small", "best", "worst", "time", "river", "engine", "token", "stream")


def some_texts(count: int, seed: int = 0) -> tuple[str, ...]:
    """Texts of one to nine words, the same for the same seed."""
    import numpy as np

    random = np.random.default_rng(seed)
    return tuple(" ".join(random.choice(WORDS, random.integers(1, 10))) for _ in range(count))


@pytest.fixture(scope="session")
def make_texts() -> Callable[..., tuple[str, ...]]:
    return some_texts


@pytest.fixture(scope="session")
def exiting_model(checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random classifier of three labels and four blocks, with exits at 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("exiting") / "model"
    shutil.copytree(checkpoint("bert-classifier"), folder)
    make_frozen(folder, LabelledTexts(some_texts(900), None, ()), (1, 2, 3), lambda done, whole, text: None)
    return folder


@pytest.fixture(scope="session")
def calibrated_model(exiting_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The classifier with a report that lets rows stop, and the plan that it holds for."""
    folder, plan = tmp_path_factory.mktemp("calibrated") / "model", "cpu/torch@fp32:0-4"
    shutil.copytree(exiting_model, folder)

    def start(exits: tuple[int, ...]) -> Runtime:
        return Runtime(str(folder), plan, in_process=True, exits=exits)

    write_report(folder, calibrate(start, folder, some_texts(400, 1), Wishes(0.2)))
    return folder, plan
