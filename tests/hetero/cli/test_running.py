"""Commands that start a runtime: real Ray actors, the real server, each as a user starts it."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import hetero as public

ROOT = Path(__file__).parents[3]
CUT = "cpu/openvino:0-2,npu:2-4,cpu/torch:4-5"
STORY = ", there was a little girl named Lily. She loved to play outside in the park."

Hetero = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.ray


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; all that it left is an error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hetero", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: list[psutil.Process] = []
    try:
        yield process
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    finally:
        process.kill()
        process.communicate()
        for left in family:
            left.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal; the exit code, and what of the process's family is left after a while."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    code = process.wait(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=20)
    return code, [left.name() for left in alive]


def names(process: subprocess.Popen[str]) -> list[str]:
    """What of a process's family runs now."""
    with suppress(psutil.NoSuchProcess):
        return [child.name() for child in psutil.Process(process.pid).children(recursive=True)]
    return []


def reference_ids(folder: Path, prompt: str, count: int) -> list[int]:
    """The greedy continuation by `transformers` in fp32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    out = model.generate(**inputs, max_new_tokens=count, do_sample=False, eos_token_id=None)[0]
    ids: list[int] = out[inputs["input_ids"].shape[1] :].tolist()
    return ids


def typed(text: str) -> io.TextIOWrapper:
    """A standard input that holds this text."""
    return io.TextIOWrapper(io.BytesIO(text.encode()))


@pytest.mark.npu
def test_generate_over_three_stages_prints_all_that_is_promised(hetero: Hetero, stories260k: Path) -> None:
    flags = ("--plan", CUT, "--max-tokens", 64, "--json")
    done = hetero("generate", stories260k, "--prompt", "Once upon a time", *flags)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["text"].startswith(STORY)
    assert document["token_ids"] == reference_ids(stories260k, "Once upon a time", 64)
    assert (document["prompt_tokens"], document["completion_tokens"]) == (5, 64)
    assert document["finish_reason"] == "length"
    assert [(stage["device"], stage["engine"], stage["first"], stage["last"]) for stage in document["plan"]] == [
        ("cpu", "openvino", 0, 2),
        ("npu", "onnx", 2, 4),
        ("cpu", "torch", 4, 5),
    ]
    assert [stage["emulated"] for stage in document["plan"]] == [False, True, False]
    assert {"ttft_seconds", "itl_seconds_median", "tokens_per_second"} <= set(document["timings"])
    assert document["timings"]["tokens_per_second"] > 0


def test_generate_streams_plain_text_and_stops_before_the_stop_text(
    here: Hetero, stories260k: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--plan", "cpu/torch:0-5", "--max-tokens", 40, "--stop", "She")
    monkeypatch.setattr(sys, "stdin", typed("Once upon a time"))
    done = here("generate", stories260k, "--prompt", "-", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ", there was a little girl named Lily."


@pytest.mark.parametrize(
    ("prompt", "plan", "said"),
    [
        ("Once", "tpu:0-5", "there is no device 'tpu'; the devices here are: cpu, npu"),
        ("Once upon a time " * 400, "cpu/torch:0-5", "too many for 512 tokens"),
    ],
)
def test_generate_refuses_what_only_the_runtime_can_know(
    here: Hetero, stories260k: Path, prompt: str, plan: str, said: str
) -> None:
    done = here("generate", stories260k, "--plan", plan, "--prompt", prompt)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_interrupt_while_ray_starts_ends_with_130_and_leaves_nothing(stories260k: Path) -> None:
    """Ray's agents are there before its start is over: without their node they would go on for a minute."""
    with started("generate", stories260k, "--prompt", "Once upon a time") as process:
        deadline = time.monotonic() + 30
        while "raylet" not in names(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        code, left = end(process, signal.SIGINT)
        assert (code, left) == (130, [])
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_serve_answers_refuses_its_port_to_another_and_ends_on_sigterm(hetero: Hetero, stories260k: Path) -> None:
    with started("serve", stories260k, "--plan", "cpu/torch:0-5", "--grpc-port", 0, "--json") as process:
        address = json.loads(first_line(process))["address"]
        with public.connect(address) as client:
            text = client.generate("Once upon a time", max_tokens=24).text
            assert len(text) > 60
            assert STORY.startswith(text)
        port = address.rpartition(":")[2]
        second = hetero("serve", stories260k, "--grpc-port", port)
        assert second.returncode == 2
        assert re.search(rf"port {port} .*in use", second.stderr)
        assert end(process, signal.SIGTERM) == (0, [])


def test_chat_answers_every_line_and_obeys_commands(
    here: Hetero, stories260k: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", typed("Once upon a time\n/help\n/reset\nThe cat\n/exit\n"))
    flags = ("--plan", "cpu/torch:0-5", "--max-tokens", 8, "--temperature", 0)
    done = here("run", stories260k, *flags)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 2
    assert "/reset" in done.stderr
    assert "the conversation is forgotten" in done.stderr


def test_embed_gives_a_vector_a_text(here: Hetero, minilm: Path) -> None:
    done = here("embed", minilm, "--text", "a cat", "--text", "a kitten", "--plan", "cpu/torch:0-6", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["embeddings"]
    assert len(first) == 384
    assert 0.7 < sum(a * b for a, b in zip(first, second, strict=True)) < 1


@pytest.mark.slow
def test_bench_decode_compares_two_plans_on_random_weights(
    here: Hetero, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = ("--random-config", "tiny", "--plan", "cpu/torch:0-4", "--vs", "cpu/torch:0-2,cpu/torch:2-4")
    small = ("--tokens", 8, "--rounds", 1, "--concurrency", 1, "--concurrency", 2, "--json")
    done = here("bench", "decode", *flags, *small)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    one, two = document["plans"]
    # Two bytes a weight in the checkpoint, four at fp32: blocks and head.
    assert (
        one["weight_bytes_per_token"]
        == two["weight_bytes_per_token"]
        == 4 * (4 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64) + 256 * 64 + 64)
    )
    assert [rate["concurrency"] for rate in one["rates"]] == [1, 2]
    assert all(ratio["ratio"] > 0 for ratio in document["ratios"])
    assert document["memory_bytes_per_second"] > 1e8
