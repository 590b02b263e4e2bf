"""Commands that start nothing: devices, plan, doctor, help."""

import io
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command

import hetero
from hetero.cli.main import app, run
from hetero.cli.output import table

COMMANDS = ("devices", "plan", "generate", "run", "serve", "embed", "classify", "doctor", "bench")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_for_every_command(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"hetero {command}" in capfd.readouterr().out


def test_version_is_the_packages(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"hetero {hetero.__version__}\n"


def test_devices_prints_one_json_document_with_names_that_a_plan_uses(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    devices = {device["name"]: device for device in json.loads(capfd.readouterr().out)}
    assert devices["cpu"]["engines"] == ["openvino", "torch", "onnx"]
    assert not devices["cpu"]["emulated"]
    assert devices["npu"]["kind"] == "npu"


def test_devices_says_what_is_emulated(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0
    npu = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("npu "))
    assert "emulated" in npu or Path("/dev/accel/accel0").exists()


def test_plan_without_text_is_the_best_real_device(stories260k: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(stories260k), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    (stage,) = document["stages"]
    assert (stage["first"], stage["last"], stage["emulated"]) == (0, 5, False)
    assert "all 5 blocks fit on" in document["reason"]


def test_plan_with_text_fills_in_engines_and_precisions(stories260k: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(stories260k), "--plan", "cpu/torch:0-2,npu:2-5", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["plan"] == "cpu/torch@fp32:0-2,npu/onnx@fp16:2-5"
    assert set(document["stages"][0]) == {"device", "engine", "first", "last", "precision", "emulated", "node"}


def test_plan_reads_file_then_environment_then_flag(
    stories260k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def planned(*flags: str) -> str:
        assert run(["plan", str(stories260k), "--config", str(file), "--json", *flags]) == 0
        return str(json.loads(capfd.readouterr().out)["plan"])

    file = tmp_path / "hetero.yaml"
    file.write_text("plan: cpu/torch:0-5\n")
    assert planned() == "cpu/torch@fp32:0-5"
    monkeypatch.setenv("HETERO_PLAN", "cpu/onnx:0-5")
    assert planned() == "cpu/onnx@fp32:0-5"
    assert planned("--plan", "cpu/openvino:0-5") == "cpu/openvino@fp32:0-5"


def test_doctor_runs_a_block_on_every_device(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    tried = {(trial["device"], trial["engine"]): trial for trial in document["devices"]}
    assert {("cpu", "openvino"), ("cpu", "torch"), ("cpu", "onnx"), ("npu", "onnx")} <= set(tried)
    assert [trial for trial in tried.values() if trial["error"]] == []
    assert document["healthy"]
    assert document["advice"] == []


def test_doctor_says_how_to_get_what_is_missing() -> None:
    from hetero.cli.checks import Package, advice

    missing = Package("onnxruntime-qnn", "an NPU", None, False, "pip install 'hetero[npu]'")
    assert advice((missing,), ())[0] == "onnxruntime-qnn is missing: pip install 'hetero[npu]'"


def test_output_into_a_closed_pipe_ends_without_a_traceback() -> None:
    command = f"{sys.executable} -m hetero devices | true"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3]
    )
    assert done.stderr == ""


def test_every_command_takes_json_but_those_that_the_readme_names() -> None:
    assert set(without_json(get_command(app), "")) == {"run", "privacy schema"}


def without_json(command: object, path: str) -> Iterator[str]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from without_json(inner, f"{path} {name}".strip())
    if not hasattr(command, "commands") and not any("--json" in each.opts for each in command.params):  # type: ignore[attr-defined]
        yield path


def test_table_of_a_plan_fits_a_narrow_terminal() -> None:
    made, written = table(">stage", "device", "engine", "precision", ">blocks", "note"), io.StringIO()
    made.add_row("0", "cpu", "openvino", "fp32", "0-6", "")
    Console(file=written, width=50).print(made)
    assert written.getvalue().split("\n")[0].split() == ["stage", "device", "engine", "precision", "blocks", "note"]


def test_interrupt_while_the_command_is_imported_says_nothing() -> None:
    code = """if True:
        import os, signal, sys
        class Interrupting:
            def find_spec(self, name, path=None, target=None):
                if name == "hetero.cli.main":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupting())
        from hetero.__main__ import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("--version > /dev/full", 1, "hetero: the system refused: No space left on device"),
        ("privacy schema > /dev/full", 1, "hetero: the system refused: No space left on device"),
        ("--version >&-", 0, ""),
        ("fly 2>&-", 2, ""),
        ("bench", 2, ""),
    ],
)
def test_output_that_goes_nowhere_ends_without_a_traceback(shell: str, code: int, said: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m hetero {shell}"
    root = Path(__file__).parents[3]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=root)
    assert done.returncode == code
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) == bool(said)


def test_module_is_the_command(hetero: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert hetero("--version").stdout.startswith("hetero ")
