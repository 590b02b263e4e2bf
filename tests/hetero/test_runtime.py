"""The runtime as a script uses it: in this process, and on Ray in a process of its own."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hetero import (
    BackendError,
    CancelledRequestError,
    ConfigurationError,
    FinishReason,
    InvalidRequestError,
    ModelError,
    PromptTooLongError,
    Runtime,
    UnavailableError,
)
from hetero.pipeline.local import LocalPipeline
from hetero.progress import Progress
from placement import PlacementError

PROMPT = "Once upon a time"
PLAN = "cpu/torch:0-5"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runtime(stories260k: Path) -> Iterator[Runtime]:
    with Runtime(str(stories260k), PLAN, in_process=True, threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def reference(stories260k: Path) -> str:
    """What `transformers` makes of the prompt, 64 tokens, greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(stories260k)
    model = AutoModelForCausalLM.from_pretrained(stories260k, dtype="float32")
    inputs = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=64, do_sample=False)[0]
    return str(tokenizer.decode(out, skip_special_tokens=True))


def test_greedy_text_equals_the_reference(runtime: Runtime, reference: str) -> None:
    completion = runtime.generate(PROMPT, max_tokens=64)
    assert PROMPT + completion.text == reference
    assert completion.completion_tokens == len(completion.token_ids) == 64
    assert completion.finish_reason is FinishReason.LENGTH
    assert completion.timings.ttft_seconds > 0


def test_prompt_and_completion_joined_are_one_text(runtime: Runtime) -> None:
    """The first word keeps its space, which a tokenizer after SentencePiece drops from a text that begins with it."""
    assert runtime.generate(f"{PROMPT}, there was", max_tokens=8).text.startswith(" a ")


def test_stages_give_the_same_text(stories260k: Path, reference: str) -> None:
    with Runtime(str(stories260k), "cpu/torch:0-2,cpu/torch:2-3,cpu/torch:3-5", in_process=True, threads=1) as cut:
        assert PROMPT + cut.generate(PROMPT, max_tokens=64).text == reference
        assert [(stage.first, stage.last) for stage in cut.plan.stages] == [(0, 2), (2, 3), (3, 5)]
        assert len(cut.reports) == 3


def test_stream_gives_pieces_then_the_whole(runtime: Runtime) -> None:
    stream = runtime.stream(PROMPT, max_tokens=30)
    pieces = [chunk.text for chunk in stream]
    assert len(pieces) > 5
    assert "".join(pieces) == stream.result().text == runtime.generate(PROMPT, max_tokens=30).text


def test_stream_that_is_left_frees_its_blocks(runtime: Runtime) -> None:
    with runtime.stream(PROMPT, max_tokens=500, ignore_eos=True) as stream:
        next(stream)
    until = time.monotonic() + 5
    while runtime.stats().free_blocks < runtime.stats().total_blocks:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_timeout_ends_the_request(runtime: Runtime) -> None:
    with pytest.raises(CancelledRequestError):
        runtime.generate(PROMPT, max_tokens=500, ignore_eos=True, timeout=0.05)


def test_unknown_option_is_named(runtime: Runtime) -> None:
    with pytest.raises(InvalidRequestError, match="'temprature'"):
        runtime.generate(PROMPT, temprature=1.0)


@pytest.mark.parametrize("prompt", ["", [], (), 7])
def test_prompt_that_is_none_is_refused(runtime: Runtime, prompt: object) -> None:
    with pytest.raises(InvalidRequestError, match="prompt"):
        runtime.generate(prompt)


@pytest.mark.parametrize("asked", ["many", None])
def test_number_of_tokens_that_is_none_is_refused(runtime: Runtime, asked: object) -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        runtime.generate(PROMPT, max_tokens=asked)


def test_options_that_are_none_are_named(runtime: Runtime) -> None:
    for name, value in (("sampling", {"max_tokens": 3}), ("timeout", "soon"), ("timeout", float("nan"))):
        with pytest.raises(InvalidRequestError, match=f"^{name} is "):
            runtime.generate(PROMPT, **{name: value})


def test_extreme_penalty_does_not_end_the_batch_of_others(runtime: Runtime) -> None:
    """Once it made logits of infinity: that row could not be sampled, and every request of its batch failed."""
    with runtime.stream(PROMPT, max_tokens=40, ignore_eos=True) as other:
        next(other)
        with pytest.raises(InvalidRequestError, match="repetition_penalty"):
            runtime.generate(PROMPT, temperature=1.0, top_p=0.5, repetition_penalty=1e-308)
        assert other.result().completion_tokens == 40


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan", ["cpu:0-5"]),
        ("precision", "fp64"),
        ("context", "512"),
        ("address", 6379),
        ("max_sequences", 2.0),
        ("threads", -1),
        ("cache", "profiles"),
        ("exits", "foo"),
        ("exits", None),
    ],
)
def test_setting_that_fits_no_model_is_named(stories260k: Path, name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is .* but must be "):
        Runtime(str(stories260k), **{name: value})


def test_draft_depth_without_drafts_is_refused(stories260k: Path) -> None:
    with pytest.raises(ConfigurationError, match="--exits verify"):
        Runtime(str(stories260k), draft_depth=2)


@pytest.mark.parametrize("model", [Path("/nowhere/at/all"), 5, None])
def test_model_that_is_none_is_named(model: object) -> None:
    with pytest.raises(ModelError, match=f"{model} is neither"):
        Runtime(model)


def test_prompt_longer_than_the_context_is_refused(runtime: Runtime) -> None:
    with pytest.raises(PromptTooLongError, match="512 tokens but the context holds 512"):
        runtime.generate([5] * 512)
    assert runtime.generate([5] * 511).completion_tokens == 1


def test_context_is_the_models_own_or_what_is_asked(runtime: Runtime, stories260k: Path) -> None:
    assert runtime.info.context_tokens == 512
    with Runtime(str(stories260k), PLAN, context=40, max_sequences=2, in_process=True, threads=1) as short:
        assert short.info.context_tokens == 40
        assert short.stats().total_blocks == 4
        assert short.generate(PROMPT, max_tokens=100, ignore_eos=True).completion_tokens == 35
    with pytest.raises(ConfigurationError, match=r"513 tokens but must be from 1 to the model's 512"):
        Runtime(str(stories260k), PLAN, context=513, in_process=True)


def test_blocks_run_out_and_everyone_is_served_still(stories260k: Path, runtime: Runtime) -> None:
    prompts = [f"{name} and the" for name in ("Lily", "Tom", "Ben", "Sue")]
    expected = [runtime.generate(prompt, max_tokens=100).text for prompt in prompts]
    with Runtime(str(stories260k), PLAN, context=128, kv_blocks=5, in_process=True, threads=1) as tight:
        assert tight.stats().total_blocks == 5
        streams = [tight.stream(prompt, max_tokens=100) for prompt in prompts]
        assert [stream.result().text for stream in streams] == expected
        assert tight.stats().preemptions > 0
        assert tight.stats().free_blocks == 5


def test_progress_tells_every_step_in_order(stories260k: Path) -> None:
    told: list[Progress] = []
    plan = "cpu/torch:0-2,cpu/torch:2-5"
    Runtime(str(stories260k), plan, in_process=True, threads=1, on_progress=told.append).close()
    phases = list(dict.fromkeys(progress.phase for progress in told))
    assert phases == ["model", "devices", "plan", "stage", "engine", "ready"]
    assert {(step.stage, step.stage_count) for step in told if step.phase == "stage"} == {(0, 2), (1, 2)}


def test_embedding_keeps_the_order_of_texts(minilm: Path) -> None:
    texts = ["a", "a much longer text than the other ones here", "two words", "a"]
    with Runtime(str(minilm), "cpu/torch:0-6", in_process=True, threads=1) as encoder:
        vectors = encoder.embed(texts)
        alone = np.concatenate([encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "plan", "kind"),
    [
        ("/no/such/folder", None, ModelError),
        ("stories", "tpu:0-5", PlacementError),
        ("stories", "cpu/torch:0-3,cpu/torch:2-5", PlacementError),
        ("stories", "cpu/torch:0-4", PlacementError),
        ("stories", "cpu/torch@fp99:0-5", PlacementError),
    ],
)
def test_start_that_fails_leaves_nothing(
    stories260k: Path, model: str, plan: str | None, kind: type[Exception]
) -> None:
    threads = threading.active_count()
    with pytest.raises(kind):
        Runtime(str(stories260k) if model == "stories" else model, plan, in_process=True)
    assert threading.active_count() == threads


def test_pipeline_is_closed_when_the_engine_does_not_start(stories260k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    close = LocalPipeline.close
    monkeypatch.setattr(LocalPipeline, "close", lambda self: (closed.append(True), close(self)))
    with pytest.raises(ConfigurationError, match="max_batch_tokens"):
        Runtime(str(stories260k), PLAN, max_batch_tokens=1, in_process=True, threads=1)
    assert closed == [True]


def test_stage_that_cannot_compile_leaves_nothing(stories260k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hetero.backends import get_backend

    backend = get_backend("torch")

    def refuse(self: object, spec: object) -> None:
        raise BackendError("no room for blocks 2 to 5")

    threads = threading.active_count()
    monkeypatch.setattr(type(backend), "compile", refuse)
    with pytest.raises(BackendError, match="no room"):
        Runtime(str(stories260k), PLAN, in_process=True)
    assert threading.active_count() == threads


def test_closed_runtime_refuses_and_ends_its_streams(stories260k: Path) -> None:
    threads = threading.active_count()
    runtime = Runtime(str(stories260k), PLAN, in_process=True, threads=1)
    stream = runtime.stream(PROMPT, max_tokens=500, ignore_eos=True)
    next(stream)
    runtime.close()
    runtime.close()
    with pytest.raises(CancelledRequestError):
        stream.result()
    with pytest.raises(UnavailableError, match="closed"):
        runtime.generate(PROMPT)
    assert threading.active_count() == threads


ON_RAY = """
import json, sys
import psutil
import hetero
from placement import PlacementError

def children():
    return [child.pid for child in psutil.Process().children(recursive=True)]

folder = sys.argv[1]
try:
    hetero.Runtime(folder, "tpu:0-5")
except PlacementError as error:
    refused = str(error)
after_refusal = children()
told = []
runtime = hetero.Runtime(folder, "cpu/torch:0-2,cpu/torch:2-5", threads=1, on_progress=told.append)
text = runtime.generate("Once upon a time", max_tokens=64).text
phases = list(dict.fromkeys(progress.phase for progress in told))
print(json.dumps({
    "refused": refused, "after_refusal": after_refusal, "text": text, "running": children(), "phases": phases,
}), flush=True)
"""


@pytest.mark.ray
def test_ray_stages_give_the_reference_and_leave_no_process(stories260k: Path, reference: str) -> None:
    """Once refused after Ray was started, once left open at the process's end."""
    command = [sys.executable, "-c", ON_RAY, str(stories260k)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert PROMPT + answer["text"] == reference
    assert "tpu" in answer["refused"] and answer["after_refusal"] == []
    assert answer["phases"] == ["model", "cluster", "devices", "plan", "stage", "engine", "ready"]
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in answer["running"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert answer["running"]
