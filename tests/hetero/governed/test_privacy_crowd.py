"""Many requests at once: they wait for the ledger's disk together, so that one sync serves all of them."""

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc
import pytest

from hetero import Runtime
from hetero.served import Served
from hetero.server.server import Server
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub

CROWD = 64


def test_a_crowd_is_in_the_guard_at_the_same_time(
    start: Callable[..., Server], papers: ModuleType, office: Any, mood: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 64 reservations waits until all 64 are asked for; with fewer threads none would ever go on."""
    labels = {"epsilon": 0.1, "labels": 3.0}
    rule = papers.private("mood", "classify", "randomised-response", labels)
    server: Any = start(papers.policy_of("mood", rule), Served(mood, "mood"))
    ledger, together = server.governance.guard.ledger, threading.Barrier(CROWD)
    reserve = ledger.reserve

    def reserve_together(*arguments: Any) -> Any:
        together.wait(30)
        return reserve(*arguments)

    monkeypatch.setattr(ledger, "reserve", reserve_together)
    headers = (("authorization", f"Bearer {office.token(sub='crowd')}"),)
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = HeteroServiceStub(channel)
        requests = [wire.ClassifyRequest(texts=[f"one of {number}"]) for number in range(CROWD)]
        answers = [stub.Classify.future(request, metadata=headers) for request in requests]
        assert all(len(answer.result().classifications) == 1 for answer in answers)
