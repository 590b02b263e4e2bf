"""What must not tell: sizes, times, logs; and where a server under a policy refuses to listen or to run."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from hetero import ConfigurationError, Runtime
from hetero.client import Client
from hetero.confinement import Confinement, check_trusted, trust_of
from hetero.errors import CancelledRequestError
from hetero.governance import open_governance
from hetero.models.config_reader import read_config
from hetero.served import Served
from hetero.server.quiet import redacted_tracebacks
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.server.side_channels import pad
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub
from placement import PlacementError, parse_plan
from placement.types import Device, DeviceKind
from privacy.audit.receipts import verify_receipt
from privacy.errors import DeniedError

GRID, PAD = 0.3, 512
CANARY = "zanzibar-7431-canary"
LABELS = {"epsilon": 0.1, "labels": 3.0}


@pytest.fixture(scope="module")
def quiet_server(start: Callable[..., Server], papers: ModuleType, mood: Runtime) -> Server:
    channels = {"pad_bytes": PAD, "release_grid_seconds": GRID}
    private = papers.private("mood", "classify", "randomised-response", LABELS, side_channels=channels)
    open_rule = papers.permit("mood", "classify", name="press", tenants=["press"], may_log=["sizes"])
    return start(papers.policy_of("mood", private, open_rule), Served(mood, "mood"))


@pytest.fixture
def classify(quiet_server: Server, office: Any) -> Iterator[Callable[..., tuple[wire.ClassifyResponse, float]]]:
    """`classify(texts)`: the answer as it came, and the seconds that it took."""
    headers = (("authorization", f"Bearer {office.token(sub='channels')}"),)
    with grpc.insecure_channel(f"localhost:{quiet_server.port}") as channel:

        def ask(texts: list[str]) -> tuple[wire.ClassifyResponse, float]:
            began = time.monotonic()
            answer = HeteroServiceStub(channel).Classify(wire.ClassifyRequest(texts=texts), metadata=headers)
            return answer, time.monotonic() - began

        yield ask


def test_answers_are_padded_and_leave_on_the_grid(classify: Callable[..., Any]) -> None:
    for texts in (["a"], ["a word " * 40], ["a", "b", "c"]):
        answer, seconds = classify(texts)
        assert answer.ByteSize() == PAD
        # The client sees the time on the way, too; before the grid's next point nothing may come.
        assert seconds >= GRID


def test_an_answer_is_stored_no_sooner_than_it_leaves(quiet_server: Server, office: Any) -> None:
    """Else a retry, which is free once there is an answer, would tell who gave up early how long it took."""
    address, token = f"localhost:{quiet_server.port}", office.token(sub="retries")
    with Client(address, token=token, timeout=GRID / 2) as hurried, pytest.raises(CancelledRequestError):
        hurried.classify(["a text"])
    with Client(address, token=token) as client:
        client.classify(["a text"])
        assert client.last_receipt is not None
        assert not verify_receipt(client.last_receipt, quiet_server.governance.guard.public_key).replayed


def test_padding_meets_every_size() -> None:
    for multiple in (1, 2, 7, 64, 100, 1024):
        for length in range(0, 400, 3):
            message = wire.GenerateResponse(text="x" * length)
            pad(message, multiple)
            assert message.ByteSize() % multiple == 0 and message.text == "x" * length
    untouched = wire.GenerateResponse(text="x")
    pad(untouched, 0)
    assert untouched == wire.GenerateResponse(text="x")


def test_log_holds_what_the_rule_allows(quiet_server: Server, office: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = f"localhost:{quiet_server.port}"
    with Client(address, token=office.token(sub="logs")) as client:
        client.classify([CANARY])
    told = [record.getMessage() for record in caplog.records if record.name == "hetero.server.call_log"]
    assert len(told) == 1 and "tenant ward" in told[0] and "method classify" in told[0] and "decision " in told[0]
    assert "bytes" not in told[0] and " s" not in told[0].replace("answered", "").split("decision")[1]
    caplog.clear()
    with Client(address, token=office.token("press")) as client:
        client.classify([CANARY])
        with pytest.raises(DeniedError):
            client.embed([CANARY])
    told = [record.getMessage() for record in caplog.records if record.name == "hetero.server.call_log"]
    assert len(told) == 1 and "bytes" in told[0] and "press" not in told[0]
    assert CANARY not in caplog.text


def test_unexpected_error_tells_its_class_and_place_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("hetero.server.status")
    first = redacted_tracebacks()
    first.__enter__()
    with redacted_tracebacks():
        first.__exit__(None, None, None)  # servers may end in any order
        try:
            raise ValueError(CANARY)
        except ValueError:
            logger.exception("incident")
    assert CANARY not in caplog.text and "ValueError" in caplog.text and "test_privacy_channels" in caplog.text


@pytest.fixture
def governance(papers: ModuleType, office: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def made(**changes: Any) -> Any:
        policy = papers.policy_of("mood", papers.permit("mood", "classify"), **changes)
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        context = open_governance(office.write_policy(folder, policy))
        opened.append(context)
        return context.__enter__()

    yield made
    for context in opened:
        context.__exit__(None, None, None)


def test_policy_by_certificates_needs_mutual_tls(governance: Callable[..., Any], office: Any) -> None:
    made = governance(identity={"certificates": [{"san": "ward.example", "tenant": "ward"}]})
    for tls in (None, office.tls):
        with pytest.raises(ConfigurationError, match="mutual TLS"):
            Server(ServerSettings(port=0, tls=tls), made)
    Server(ServerSettings(port=0, tls=office.mutual), made).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_tokens_in_the_clear_are_refused_beyond_this_machine(host: str, governance: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="without TLS"):
        Server(ServerSettings(port=0, host=host), governance())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_needs_no_tls(host: str, governance: Callable[..., Any]) -> None:
    Server(ServerSettings(port=0, host=host), governance()).close()


def test_servers_own_token_does_not_go_with_a_policy(governance: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="HETERO_GRPC_TOKEN"):
        Server(ServerSettings(port=0, token="shared"), governance())


DEVICES = (
    Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1 << 33, cores=(0, 1)),
    Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32",), 1 << 33),
    Device("far.cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1 << 33, node="far", cores=(0,)),
)
CLEARANCES = {"cpu": frozenset({"raw-tokens"}), "gpu0": frozenset({"hidden"}), "far.cpu": frozenset[str]()}


@pytest.mark.parametrize(
    ("plan", "allowed"),
    [
        ("cpu:0-5", True),
        ("cpu:0-2,gpu0:2-4,cpu:4-5", True),
        ("cpu-core1:0-5", True),
        ("gpu0:0-5", False),
        ("cpu:0-2,gpu0:2-5", False),
        ("gpu0:0-2,cpu:2-5", False),
        ("cpu:0-2,far.cpu:2-4,cpu:4-5", False),
    ],
)
def test_manual_plan_is_held_to_the_clearances(plan: str, allowed: bool, stories260k: Path) -> None:
    from hetero.cores import with_named_cores

    confinement = Confinement(lambda device, node: CLEARANCES[device])
    trust = trust_of(confinement, DEVICES, read_config(stories260k))
    made = parse_plan(plan, with_named_cores(DEVICES, plan), 5, "fp32")
    if allowed:
        check_trusted(made, trust)
    else:
        with pytest.raises(PlacementError, match="does not let"):
            check_trusted(made, trust)


def test_runtime_does_not_start_where_no_device_is_trusted(stories260k: Path) -> None:
    nobody = Confinement(lambda device, node: frozenset({"hidden"}))
    for plan in (None, "cpu/torch:0-5", "auto"):
        with pytest.raises(PlacementError, match="does not let cpu see raw-tokens"):
            Runtime(str(stories260k), plan, in_process=True, threads=1, confinement=nobody)
