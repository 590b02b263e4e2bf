"""Exits under a policy: a rule without protection may let texts stop early, every other keeps the depth constant."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero import Runtime
from hetero.client import Client
from hetero.errors import InvalidRequestError
from hetero.governance import open_governance
from hetero.served import Served
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub

CONSTANT = {"early_exit": "forbidden"}


@pytest.fixture(scope="module")
def papers() -> Any:
    """Tokens and policies' files, as the tests of governed servers make them."""
    file = Path(__file__).parents[1] / "governed" / "identity_papers.py"
    spec = importlib.util.spec_from_file_location("identity_papers", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def office(papers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return papers.Office(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def port(
    papers: Any, office: Any, calibrated_model: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """One server; `ward` is answered under DP, `press` may exit, `school` asks in the clear at constant depth."""
    rules = (
        papers.private("mood", "classify", "randomised-response", {"epsilon": 0.1, "labels": 3.0}),
        papers.permit("mood", "classify", name="exits", tenants=["press"]),
        papers.permit("mood", "classify", name="constant", tenants=["school"], side_channels=CONSTANT),
    )
    policy = papers.policy_of("mood", *rules, tenants=["ward", "press", "school"])
    (model, plan), file = calibrated_model, office.write_policy(tmp_path_factory.mktemp("policy"), policy)
    with (
        open_governance(file) as governance,
        Runtime(str(model), plan, in_process=True, confinement=governance.confinement("mood")) as runtime,
        Server(ServerSettings(port=0), governance) as server,
    ):
        server.attach(Served(runtime, "mood"))
        yield server.port


@pytest.fixture
def ask(port: int, office: Any) -> Iterator[Callable[..., Any]]:
    """`ask(tenant, request)`: the answer as it came."""
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        stub = HeteroServiceStub(channel)

        def asked(tenant: str, request: wire.ClassifyRequest) -> wire.ClassifyResponse:
            headers = (("authorization", f"Bearer {office.token(tenant)}"),)
            return stub.Classify(request, metadata=headers)

        yield asked


def test_depth_follows_the_text_where_the_rule_allows_it(
    ask: Callable[..., Any], make_texts: Callable[..., tuple[str, ...]]
) -> None:
    answer = ask("press", wire.ClassifyRequest(texts=make_texts(60, 3)))
    depths = [each.depth for each in answer.classifications]
    assert set(depths) <= {1, 2, 3, 4} and min(depths) < 4
    request = wire.ClassifyRequest(texts=make_texts(60, 3))
    request.adaptive.mode = ExitMode.OFF
    assert {each.depth for each in ask("press", request).classifications} == {4}


@pytest.mark.parametrize("tenant", ["ward", "school"])
def test_depth_is_constant_and_untold_under_every_other_rule(
    ask: Callable[..., Any], port: int, office: Any, make_texts: Callable[..., tuple[str, ...]], tenant: str
) -> None:
    texts = make_texts(60, 3)
    answer = ask(tenant, wire.ClassifyRequest(texts=texts))
    assert {(each.depth, each.saved_blocks) for each in answer.classifications} == {(0, 0)}
    with Client(f"localhost:{port}", token=office.token(tenant)) as client:
        client.classify(texts, adaptive=AdaptiveChoice(ExitMode.OFF))
        with pytest.raises(InvalidRequestError, match="keeps the depth constant"):
            client.classify(texts, adaptive=AdaptiveChoice(ExitMode.TERMINATE))


def test_texts_of_a_constant_rule_run_through_every_block(
    port: int, office: Any, calibrated_model: tuple[Path, str], make_texts: Callable[..., tuple[str, ...]]
) -> None:
    """In the clear, the scores show which blocks were run: they are full depth's, not an exit's."""
    (model, plan), texts = calibrated_model, make_texts(60, 3)
    with Runtime(str(model), plan, in_process=True, exits="off") as plain:
        wanted = [scores.probabilities for scores in plain.classify(texts)]
    with Client(f"localhost:{port}", token=office.token("school")) as client:
        found = [scores.probabilities for scores in client.classify(texts)]
    assert all(mine == pytest.approx(theirs, abs=1e-5) for mine, theirs in zip(found, wanted, strict=True))


def test_stages_have_no_exits_where_no_rule_allows_them(
    papers: Any, office: Any, calibrated_model: tuple[Path, str], tmp_path: Path
) -> None:
    private = papers.private("mood", "classify", "randomised-response", {"epsilon": 0.1, "labels": 3.0})
    with open_governance(office.write_policy(tmp_path, papers.policy_of("mood", private))) as governance:
        confinement = governance.confinement("mood")
    assert not confinement.may_exit
    model, plan = calibrated_model
    with Runtime(str(model), plan, in_process=True, confinement=confinement) as runtime:
        assert set(runtime.submit_classification(["cat"]).depths.tolist()) <= {4}
        assert "not asked for" in runtime.stats().exits.reason
