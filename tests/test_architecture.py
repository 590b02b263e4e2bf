"""The import rules: three leaves, one trunk, and each outside library in the files that may know it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("hetero", "placement", "adaptive", "privacy")
LEAVES = ("placement", "adaptive", "privacy")

# What a leaf may import from outside the standard library and itself.
LEAF_MAY_IMPORT = {
    "placement": {"networkx", "numpy", "scipy"},
    "adaptive": {"numpy", "scipy"},
    "privacy": {
        *("numpy", "scipy", "torch", "pydantic", "yaml", "safetensors"),
        *("opacus", "opendp", "tenseal", "cryptography", "jwt", "psutil"),
    },
}
# Which files of the trunk may import an outside library, or the generated messages.
ONLY_IN = {
    "ray": ("hetero/cluster*.py", "hetero/pipeline/actor*.py", "hetero/pipeline/supervisor.py"),
    "zmq": ("hetero/pipeline/*.py", "hetero/wire.py", "hetero/bench/hops.py"),
    "grpc": ("hetero/server/*.py", "hetero/client*.py"),
    "grpc_health": ("hetero/server/*.py", "hetero/client*.py"),
    "grpc_reflection": ("hetero/server/*.py",),
    "google": ("hetero/server/*.py", "hetero/client*.py"),
    "hetero.v1": ("hetero/server/*.py", "hetero/client*.py"),
    "openvino": ("hetero/backends/openvino_*.py",),
    "onnx": ("hetero/backends/onnx_*.py",),
    "onnxruntime": ("hetero/backends/onnx_*.py",),
    "onnxruntime_qnn": ("hetero/backends/onnx_*.py",),
    "typer": ("hetero/cli/*.py",),
    "rich": ("hetero/cli/*.py",),
}
# Libraries of makers and of mechanisms, whose absence must not break an import of ours.
OPTIONAL = ("openvino", "onnx", "onnxruntime", "onnxruntime_qnn", "tenseal", "opacus", "opendp", "cryptography", "jwt")


def sources(*packages: str) -> list[Path]:
    found = (path for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    return [path for path in found if "v1" not in path.relative_to(ROOT).parts]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports anywhere, but not what it imports for the type checker alone."""
    yield from _imports_of(ast.parse(path.read_text(encoding="utf-8")))


def _imports_of(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from _imports_of(child)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", sources(*LEAVES), ids=relative)
def test_leaf_imports_only_itself_and_what_it_may(path: Path) -> None:
    leaf = path.relative_to(ROOT).parts[0]
    tops = {module.split(".")[0] for module in imports(path)}
    assert tops - set(sys.stdlib_module_names) - {leaf} <= LEAF_MAY_IMPORT[leaf]


@pytest.mark.parametrize("path", sources("hetero"), ids=relative)
def test_trunk_imports_outside_libraries_only_where_they_are_known(path: Path) -> None:
    for module in imports(path):
        for library, places in ONLY_IN.items():
            if within(module, library):
                assert any(fnmatch(relative(path), place) for place in places), f"{module} is imported"


def test_every_module_says_what_it_knows() -> None:
    silent = [relative(path) for path in sources(*PACKAGES) if not _docstring(path) and path.read_text().strip()]
    assert silent == []


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_folders_that_are_no_packages_have_no_init() -> None:
    found = [relative(path) for folder in ("proto", "tests", "examples", "scripts") for path in _inits(folder)]
    assert found == []


def _inits(folder: str) -> list[Path]:
    return list((ROOT / folder).rglob("__init__.py"))


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [relative(path) for path in sources(*PACKAGES) if path.stem in {"utils", "util", "helpers", "misc"}] == []


def test_files_stay_short() -> None:
    lines = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES)}
    assert {name: count for name, count in lines.items() if count > 250} == {}


def test_every_module_imports_without_the_makers_libraries() -> None:
    """A machine without OpenVINO, ONNX Runtime or the privacy libraries still imports all of ours."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(*PACKAGES)]
    wanted = [module.removesuffix(".__init__") for module in modules if not module.endswith("__main__")]
    script = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
        f"for name in {wanted!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
