"""What balancers and tools ask: health checks and watches through loading, serving and draining; reflection."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from hetero import Runtime, StageLostError, UnavailableError, connect
from hetero.server.server import Server
from hetero.server.settings import ServerSettings

SERVICE = "hetero.v1.HeteroService"
Status = health_pb2.HealthCheckResponse


@pytest.fixture
def loading() -> Iterator[Server]:
    """A server that listens and has no model yet."""
    with Server(ServerSettings(port=0)) as made:
        yield made


def check(server: Server, service: str = "") -> int:
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status


@pytest.mark.parametrize("service", ["", SERVICE])
def test_check_says_not_serving_until_a_model_is_there(loading: Server, runtime: Runtime, service: str) -> None:
    assert check(loading, service) == Status.NOT_SERVING
    loading.attach(runtime)
    assert check(loading, service) == Status.SERVING


def test_check_does_not_know_another_service(loading: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(loading, "hetero.v1.Nothing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", SERVICE])
def test_watch_sees_loading_serving_and_draining(
    loading: Server, runtime: Runtime, service: str, wait_for: Callable[..., None]
) -> None:
    seen: list[int] = []

    def watch(channel: grpc.Channel) -> None:
        try:
            for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service)):
                seen.append(answer.status)
        except grpc.RpcError:
            seen.append(-1)

    with grpc.insecure_channel(f"localhost:{loading.port}") as channel:
        thread = threading.Thread(target=watch, args=(channel,))
        thread.start()
        wait_for(lambda: seen == [Status.NOT_SERVING])
        loading.attach(runtime)
        wait_for(lambda: seen[1:] == [Status.SERVING])
        loading.close()
        thread.join()
    assert seen == [Status.NOT_SERVING, Status.SERVING, Status.NOT_SERVING, -1]


def test_calls_while_loading_are_unavailable_and_say_so(loading: Server) -> None:
    with connect(f"localhost:{loading.port}") as client:
        assert not client.is_serving()
        for call in (lambda: client.generate("Once"), lambda: client.info, lambda: client.embed(["a"])):
            with pytest.raises(UnavailableError, match="still loading"):
                call()


def test_client_waits_until_the_server_serves(loading: Server, runtime: Runtime) -> None:
    with connect(f"localhost:{loading.port}") as client:
        with pytest.raises(UnavailableError, match=r"not ready after 0\.2 seconds"):
            client.wait_until_serving(0.2)
        timer = threading.Timer(0.2, loading.attach, [runtime])
        timer.start()
        client.wait_until_serving(10)
        assert client.generate("Once", max_tokens=1).completion_tokens == 1
        timer.join()


def test_lost_stage_ends_the_serving(loading: Server, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise StageLostError("stage 0 (cpu/torch:0-5) died")

    loading.attach(runtime)
    monkeypatch.setattr(runtime, "submit", lose)
    with connect(f"localhost:{loading.port}") as client:
        with pytest.raises(StageLostError, match="stage 0"):
            client.generate("Once")
        assert not client.is_serving()


def test_stage_lost_while_nobody_asks_ends_the_serving(
    loading: Server, stories260k: Path, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
) -> None:
    monkeypatch.setattr("hetero.engine.engine.IDLE_SECONDS", 0.05)
    with Runtime(str(stories260k), "cpu/torch:0-5", in_process=True, threads=1) as own:
        loading.attach(own)
        assert check(loading) == Status.SERVING
        own._parts.pipeline.close()
        wait_for(lambda: check(loading) == Status.NOT_SERVING)


def test_reflection_tells_services_and_messages(server: Server) -> None:
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        service = DescriptorPool(database).FindServiceByName(SERVICE)
    assert {method.name for method in service.methods} == {
        "Generate",
        "Embed",
        "Classify",
        "ClassifyVectors",
        "GetModel",
        "GetPlan",
        "ListDevices",
    }
    assert service.methods_by_name["Generate"].input_type.fields_by_name["sampling"].number == 4
