"""The one table between errors and statuses: complete, and the same from both ends of a real channel."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from hetero import Runtime, connect, errors
from hetero.client import Client
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.server.status import error_from, status_of
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub
from placement import errors as placement_errors

TABLE = [
    (errors.InvalidRequestError, "INVALID_ARGUMENT"),
    (errors.PromptTooLongError, "INVALID_ARGUMENT"),
    (errors.OverloadedError, "RESOURCE_EXHAUSTED"),
    (errors.StageLostError, "UNAVAILABLE"),
    (errors.UnavailableError, "UNAVAILABLE"),
    (errors.CancelledRequestError, "CANCELLED"),
    (errors.AuthenticationError, "UNAUTHENTICATED"),
    (errors.ConfigurationError, "FAILED_PRECONDITION"),
    (errors.ModelError, "FAILED_PRECONDITION"),
    (placement_errors.PlacementError, "FAILED_PRECONDITION"),
    (errors.BackendError, "INTERNAL"),
    (errors.HeteroError, "INTERNAL"),
]


@pytest.fixture
def own_client(runtime: Runtime) -> Iterator[Client]:
    """A client of a server that no other test uses."""
    with Server(ServerSettings(port=0)) as server:
        server.attach(runtime)
        with connect(f"localhost:{server.port}") as client:
            yield client


def failing_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def all_errors(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(all_errors(kind) for kind in root.__subclasses__()))


@pytest.mark.parametrize(("kind", "status"), TABLE, ids=lambda value: getattr(value, "__name__", value))
def test_error_crosses_the_wire_as_itself(
    own_client: Client,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
    status: str,
) -> None:
    monkeypatch.setattr(runtime, "tokenize", failing_with(kind("größer als gedacht; the way out")))
    with pytest.raises(kind, match="größer als gedacht; the way out") as caught:
        own_client.generate("Once")
    assert type(caught.value) is kind
    assert status_of(kind("x"))[0].name == status


def test_every_error_of_ours_has_a_status_of_its_own_class_or_its_parents() -> None:
    listed = {kind for kind, _ in TABLE}
    for kind in all_errors(errors.HeteroError) | all_errors(placement_errors.PlacementError):
        code, message, name = status_of(kind("why"))
        assert message == "why"
        assert isinstance(error_from(code, message, name), kind if kind in listed else kind.__bases__)


def test_unexpected_error_leaks_nothing_and_can_be_found(
    own_client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "tokenize", failing_with(KeyError("/etc/secret")))
    with pytest.raises(errors.HeteroError) as caught:
        own_client.generate("Once")
    message = str(caught.value)
    incident = message.rsplit(" ", 1)[1]
    assert "secret" not in message and "KeyError" not in message
    assert any(incident in record.message and record.exc_info for record in caplog.records)
    monkeypatch.undo()
    assert own_client.generate("Once", max_tokens=1).completion_tokens == 1


def test_long_message_is_cut_and_arrives(own_client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "tokenize", failing_with(errors.ModelError("a" * 100_000)))
    with pytest.raises(errors.ModelError, match=r"^a{1000}$"):
        own_client.generate("Once")


def test_long_message_arrives_in_every_script(
    own_client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes count, of which gRPC makes three each, and takes 8 KiB."""
    monkeypatch.setattr(runtime, "tokenize", failing_with(errors.ModelError("😀" * 1000 + "\ud800")))
    with pytest.raises(errors.ModelError, match=r"^😀{250}$"):
        own_client.generate("Once")


def test_full_queue_is_resource_exhausted(stories260k: object) -> None:
    options = {"in_process": True, "threads": 1, "max_sequences": 1, "max_waiting": 1}
    with Runtime(str(stories260k), "cpu/torch:0-5", **options) as small, Server(ServerSettings(port=0)) as server:
        server.attach(small)
        with connect(f"localhost:{server.port}") as client:
            streams = [client.stream("Once", max_tokens=400, ignore_eos=True) for _ in range(8)]
            outcomes = [outcome(stream.result) for stream in streams]
    assert errors.OverloadedError in outcomes and type(None) in outcomes


def outcome(call: Callable[[], object]) -> type:
    try:
        call()
    except errors.HeteroError as error:
        return type(error)
    return type(None)


def test_more_calls_than_allowed_are_refused(runtime: Runtime) -> None:
    with Server(ServerSettings(port=0, max_concurrent=2)) as server:
        server.attach(runtime)
        with connect(f"localhost:{server.port}") as client:
            streams = [client.stream("Once", max_tokens=400, ignore_eos=True) for _ in range(2)]
            for stream in streams:
                next(stream)
            with pytest.raises(errors.OverloadedError):
                client.generate("Once")
            for stream in streams:
                stream.close()


def test_burst_of_calls_is_answered_or_refused_and_never_cancelled(server: Server) -> None:
    """gRPC by itself looks at a thousand at once, and ends some of the others as cancelled."""
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = HeteroServiceStub(channel)
        calls = [stub.GetModel.future(wire.GetModelRequest(), timeout=60) for _ in range(1500)]
        assert {call.code() for call in calls} <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_status_without_our_name_is_understood() -> None:
    for code, kind in [
        (grpc.StatusCode.UNIMPLEMENTED, errors.ConfigurationError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.CancelledRequestError),
        (grpc.StatusCode.DATA_LOSS, errors.HeteroError),
    ]:
        assert type(error_from(code, "", None)) is kind
