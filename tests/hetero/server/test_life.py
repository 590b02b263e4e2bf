"""A server's life: it takes its port or says why not, drains, and ends at a signal with nothing left."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hetero import ConfigurationError, ModelError, Runtime, UnavailableError, connect
from hetero.server.server import Server, serve
from hetero.server.settings import ServerSettings

ROOT = Path(__file__).parents[3]
SERVING_PROCESS = """
import sys
from hetero import Runtime
from hetero.server.server import serve
serve(
    lambda: Runtime(sys.argv[1], "cpu/torch:0-5", in_process=True, threads=1),
    port=0,
    on_listening=lambda port: print(port, flush=True),
    on_serving=lambda runtime: print("serving", flush=True),
)
print("ended", flush=True)
"""


@pytest.fixture
def process(stories260k: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVING_PROCESS, str(stories260k)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        yield running
        running.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_port_in_use_is_named_with_the_way_out(server: Server) -> None:
    with pytest.raises(ConfigurationError, match=rf"port {server.port} on 127\.0\.0\.1 is in use.*--grpc-port"):
        Server(ServerSettings(port=server.port))


def test_port_in_use_by_a_stranger_is_seen_before_a_model_is_loaded() -> None:
    def load() -> Runtime:
        raise AssertionError("the model was loaded")

    with socket.create_server(("127.0.0.1", 0)) as stranger, pytest.raises(ConfigurationError, match="in use"):
        serve(load, port=stranger.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}"):
        Server(ServerSettings(host=host, port=0))


def test_error_of_loading_ends_the_server() -> None:
    ports: list[int] = []
    with pytest.raises(ModelError):
        serve(lambda: Runtime("/no/such/folder", in_process=True), port=0, on_listening=ports.append)
    with pytest.raises(UnavailableError):
        connect(f"localhost:{ports[0]}")


def test_ipv6_address_is_listened_on(runtime: Runtime) -> None:
    with Server(ServerSettings(host="::1", port=0)) as server:
        server.attach(runtime)
        with connect(f"[::1]:{server.port}") as client:
            assert client.is_serving()


def test_nobody_there_names_the_address_and_how_to_start_one() -> None:
    with pytest.raises(UnavailableError, match=r"no server answers at localhost:1 .*hetero serve MODEL"):
        connect("localhost:1")


@pytest.mark.parametrize("address", ["", "localhost", "localhost:99999", "[::1]", 50051, None])
def test_address_that_is_none_is_named(address: object) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        connect(address)


def test_certificate_that_is_no_client_tls_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"tls is 'ca\.pem'"):
        connect("localhost:1", tls="ca.pem")


def test_server_that_takes_the_connection_and_says_nothing_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnavailableError, match="answered within"):
        connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)


def test_closed_client_says_so_for_every_call(server: Server) -> None:
    client = connect(f"localhost:{server.port}")
    client.close()
    client.close()
    calls = (client.is_serving, client.devices, client.wait_until_serving)
    for call in (*calls, lambda: client.generate("Once"), lambda: client.embed(["a"]), lambda: client.plan):
        with pytest.raises(UnavailableError, match="the client is closed"):
            call()


def test_draining_ends_what_runs_and_refuses_what_comes(runtime: Runtime, wait_for: Callable[..., None]) -> None:
    server = Server(ServerSettings(port=0))
    server.attach(runtime)
    expected = runtime.generate("Once upon a time", max_tokens=300, ignore_eos=True).text
    with connect(f"localhost:{server.port}") as client:
        stream = client.stream("Once upon a time", max_tokens=300, ignore_eos=True)
        next(stream)
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_for(lambda: not client.is_serving())
        with pytest.raises(UnavailableError, match="draining"):
            client.generate("Once")
        assert stream.result().text == expected
        closing.join()
        with pytest.raises(UnavailableError):
            client.is_serving()


def test_drain_that_takes_too_long_is_cut(runtime: Runtime, wait_for: Callable[..., None]) -> None:
    server = Server(ServerSettings(port=0))
    server.attach(runtime)
    with connect(f"localhost:{server.port}") as client:
        stream = client.stream("Once upon a time", max_tokens=500, ignore_eos=True)
        next(stream)
        server.close(drain_seconds=0.05)
        with pytest.raises(UnavailableError):
            stream.result()
    wait_for(lambda: runtime.stats().free_blocks == runtime.stats().total_blocks)


def test_second_signal_cuts_the_drain(runtime: Runtime) -> None:
    server = Server(ServerSettings(port=0))
    server.attach(runtime)
    with connect(f"localhost:{server.port}") as client:
        stream = client.stream("Once upon a time", max_tokens=500, ignore_eos=True)
        next(stream)
        signals = threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
        signals.start()
        with pytest.raises(KeyboardInterrupt):
            server.close()
        with pytest.raises(UnavailableError):
            stream.result()


def test_closing_twice_and_threads_left(runtime: Runtime) -> None:
    before = threading.active_count()
    server = Server(ServerSettings(port=0))
    server.attach(runtime)
    server.close()
    server.close()
    assert threading.active_count() <= before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_serving_process_cleanly(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    port = line(process)
    assert line(process) == "serving"
    with connect(f"localhost:{port}") as client:
        assert client.generate("Once", max_tokens=4).completion_tokens == 4
        process.send_signal(number)
        assert line(process) == "ended"
    assert process.wait(20) == 0
    assert process.stderr is not None and "Traceback" not in process.stderr.read()
