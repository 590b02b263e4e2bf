"""Requests that end before their completion does: deadlines, cancelled calls, closed streams, killed clients."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from hetero import CancelledRequestError, Runtime
from hetero.client import Client
from hetero.server.server import Server
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub

PROMPT = "Once upon a time"
LONG = {"max_tokens": 500, "ignore_eos": True}

CLIENT_THAT_WAITS = """
import sys, time, hetero
stream = hetero.connect(sys.argv[1]).stream("Once upon a time", max_tokens=500, ignore_eos=True)
print(next(stream).text, flush=True)
time.sleep(60)
"""


@pytest.fixture
def steps_at_cancel(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The engine's count of steps just after each request that the server cancelled."""
    steps: list[int] = []
    cancel = runtime.cancel

    def recorded(request_id: str) -> None:
        cancel(request_id)
        steps.append(runtime.stats().steps)

    monkeypatch.setattr(runtime, "cancel", recorded)
    return steps


@pytest.fixture
def assert_freed(runtime: Runtime, steps_at_cancel: list[int], wait_for: Callable[..., None]) -> Callable[[], None]:
    """Asserts that the one request was cancelled, and took at most one more step."""

    def check() -> None:
        wait_for(lambda: len(steps_at_cancel) == 1)
        wait_for(lambda: runtime.stats().free_blocks == runtime.stats().total_blocks)
        time.sleep(0.05)
        stats = runtime.stats()
        assert stats.steps - steps_at_cancel[0] <= 1
        assert (stats.running, stats.waiting, stats.batches_in_flight) == (0, 0, 0)
        assert stats.free_blocks == stats.total_blocks

    return check


def test_cancelled_call_frees_its_blocks_within_one_step(
    channel: grpc.Channel, runtime: Runtime, assert_freed: Callable[[], None]
) -> None:
    call = HeteroServiceStub(channel).Generate(wire.GenerateRequest(text=PROMPT, sampling=wire.SamplingOptions(**LONG)))
    next(call)
    assert runtime.stats().free_blocks < runtime.stats().total_blocks
    call.cancel()
    assert_freed()


def test_closed_stream_frees_its_blocks_within_one_step(client: Client, assert_freed: Callable[[], None]) -> None:
    with client.stream(PROMPT, **LONG) as stream:
        next(stream)
    assert_freed()


def test_killed_client_frees_its_blocks_within_one_step(server: Server, assert_freed: Callable[[], None]) -> None:
    command = [sys.executable, "-c", CLIENT_THAT_WAITS, f"localhost:{server.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        assert_freed()


def test_deadline_ends_the_request_and_frees_its_blocks(client: Client, assert_freed: Callable[[], None]) -> None:
    stream = client.stream(PROMPT, timeout=0.25, **LONG)
    with pytest.raises(CancelledRequestError, match="deadline"):
        stream.result()
    assert_freed()


def test_deadline_has_its_own_status(channel: grpc.Channel) -> None:
    request = wire.GenerateRequest(text=PROMPT, sampling=wire.SamplingOptions(**LONG))
    with pytest.raises(grpc.RpcError) as caught:
        list(HeteroServiceStub(channel).Generate(request, timeout=0.2))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_others_go_on_when_one_is_cancelled(client: Client) -> None:
    expected = client.generate(PROMPT, max_tokens=100).text
    with ThreadPoolExecutor(4) as pool:
        kept = [pool.submit(client.generate, PROMPT, max_tokens=100) for _ in range(4)]
        for _ in range(4):
            with client.stream(PROMPT, **LONG) as stream:
                next(stream)
        assert [future.result().text for future in kept] == [expected] * 4


def test_stream_that_was_closed_gives_no_completion(client: Client) -> None:
    stream = client.stream(PROMPT, **LONG)
    next(stream)
    stream.close()
    assert list(stream) == []
    with pytest.raises(CancelledRequestError, match="closed"):
        stream.result()


def test_slow_reader_gets_the_whole_text(client: Client) -> None:
    expected = client.generate(PROMPT, max_tokens=200).text
    stream = client.stream(PROMPT, max_tokens=200)
    pieces = []
    for number, chunk in enumerate(stream):
        pieces.append(chunk.text)
        time.sleep(0.1 if number < 3 else 0)
    assert "".join(pieces) == expected
