"""Engines must not tell their makers what runs here: each would first write an id of this machine into the home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Where one of these is set, the engines are quiet by themselves.
QUIET = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")


@pytest.mark.parametrize("code", ["import openvino", "import onnxruntime; onnxruntime.get_ep_devices()"])
def test_engine_leaves_no_id_of_the_machine_in_the_home(tmp_path: Path, code: str) -> None:
    quiet = {name: value for name, value in os.environ.items() if name not in QUIET}
    environment = quiet | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"import hetero.backends; {code}"], env=environment, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
