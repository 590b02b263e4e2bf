"""What is installed: a wheel with exactly our four packages, and pinned versions that fit the bounds."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGES = ("adaptive", "hetero", "placement", "privacy")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_wheel_has_exactly_four_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_wheel_carries_the_embedded_model_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tiny = {name.removeprefix("hetero/tiny/") for name in names if name.startswith("hetero/tiny/")}
    assert {"config.json", "tokenizer.json", "model.safetensors", "CARD.md"} <= tiny
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_starts_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "hetero = hetero.__main__:main" in archive.read(entry).decode()


@pytest.mark.parametrize("package", PACKAGES)
def test_import_name_is_the_folder_here(package: str) -> None:
    """`placement` and `adaptive` exist on PyPI too; what is imported must be ours."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


@pytest.mark.parametrize("name", ["proto", "examples"])
def test_folder_does_not_shadow_an_installed_package(name: str) -> None:
    """proto-plus and opacus install these names; ours are plain folders, so theirs win even from the repository."""
    script = f"import {name}; print({name}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    # The environment may lie inside the repository, as `.venv` of the Makefile does.
    assert Path(done.stdout.strip()).parent != ROOT / name


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins), "exact versions only"
    return {_plain(name): version for name, version in (pin.split("==") for pin in pins)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    extras = [requirement for group in PROJECT["optional-dependencies"].values() for requirement in group]
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *extras] if not text.startswith("hetero[")]
    pins = _pins()
    wrong = [
        str(want) for want in wanted if not want.specifier.contains(pins.get(_plain(want.name), "0"), prereleases=True)
    ]
    assert wrong == []


def test_torch_is_pinned_without_a_local_part() -> None:
    assert _pins()["torch"] == "2.13.0"
