"""Dynamic depth over gRPC: a request's choice goes in, the depth of each answer comes back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero import Runtime, connect
from hetero.client import Client
from hetero.errors import InvalidRequestError
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub


@pytest.fixture(scope="module")
def served(
    calibrated_model: tuple[Path, str],
) -> Iterator[tuple[Client, Server]]:
    folder, plan = calibrated_model
    with Runtime(str(folder), plan, in_process=True) as runtime, Server(ServerSettings(port=0)) as server:
        server.attach(runtime)
        with connect(f"localhost:{server.port}") as client:
            yield client, server


def test_depth_comes_back_and_off_is_full_depth(
    served: tuple[Client, Server], make_texts: Callable[..., tuple[str, ...]]
) -> None:
    client, texts = served[0], make_texts(60, 3)
    usual = [scores.depth for scores in client.classify(texts)]
    assert set(usual) <= {1, 2, 3, 4} and min(usual) < 4
    assert {scores.depth for scores in client.classify(texts, adaptive=AdaptiveChoice(ExitMode.OFF))} == {4}
    strict = AdaptiveChoice(ExitMode.TERMINATE, 0.0)
    assert {scores.depth for scores in client.classify(texts, adaptive=strict)} == {4}


def test_saved_blocks_are_told(served: tuple[Client, Server], make_texts: Callable[..., tuple[str, ...]]) -> None:
    with grpc.insecure_channel(f"localhost:{served[1].port}") as channel:
        response = HeteroServiceStub(channel).Classify(wire.ClassifyRequest(texts=make_texts(20, 4)))
    assert all(each.depth + each.saved_blocks == 4 for each in response.classifications)


@pytest.mark.parametrize(("mode", "most"), [("deep", None), ("verify", None), ("terminate", 1.5)])
def test_a_wrong_choice_is_refused(served: tuple[Client, Server], mode: str, most: float | None) -> None:
    request = wire.ClassifyRequest(texts=["cat"])
    request.adaptive.mode = mode
    if most is not None:
        request.adaptive.max_disagreement = most
    with grpc.insecure_channel(f"localhost:{served[1].port}") as channel, pytest.raises(grpc.RpcError) as refused:
        HeteroServiceStub(channel).Classify(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_modes_of_decoders_are_refused_by_the_client_too(served: tuple[Client, Server]) -> None:
    with pytest.raises(InvalidRequestError, match="for decoders"):
        served[0].classify(["cat"], adaptive=AdaptiveChoice(ExitMode.SKIP))
