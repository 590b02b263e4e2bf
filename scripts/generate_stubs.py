"""Generates `hetero/v1/` from `proto/hetero/v1/*.proto`; `--check` compares instead, and exits 1 where they differ.

Knows protoc's calls only. `-Iproto` makes the stubs import each other as `hetero.v1`, so that nothing is patched.
"""

import argparse
import filecmp
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
STUBS = ROOT / "hetero" / "v1"
INIT = '"""Stubs generated from `proto/hetero/v1` by `scripts/generate_stubs.py`: never edited by hand."""\n'


def generate(target: Path) -> Path:
    """Write all stubs below `target`; returns their folder. Exits with protoc's message where a source is wrong."""
    from grpc_tools import protoc

    # protoc looks for its plug-ins on PATH; they stand beside the interpreter, whose environment need not be active.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    sources = [str(path) for path in sorted(SOURCES.rglob("*.proto"))]
    code = protoc.main(["protoc", f"-I{SOURCES}", f"-I{well_known}", *outputs, *sources])
    if code != 0:
        sys.exit(f"protoc failed with exit code {code}")
    folder = target / "hetero" / "v1"
    for empty in folder.glob("placement_pb2_grpc.*"):  # it defines no service
        empty.unlink()
    (folder / "__init__.py").write_text(INIT)
    return folder


def differences(fresh: Path, committed: Path) -> list[str]:
    """Names of the files that are missing, stale or left over in `committed`."""
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.py*")}
    _, mismatch, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return sorted(mismatch + missing)


def check() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        stale = differences(generate(Path(temporary)), STUBS)
    if stale:
        sys.exit(f"stubs are not up to date: {', '.join(stale)}; run scripts/generate_stubs.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs, write nothing")
    if parser.parse_args().check:
        check()
    else:
        generate(ROOT)


if __name__ == "__main__":
    main()
