"""Ten thousand malformed and unwanted requests: no model call, no crash, nothing but refusals of ours."""

import random
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc
import pytest

from hetero import Runtime
from hetero.client import Client
from hetero.governance import Governance
from hetero.served import Served
from hetero.server.server import Server
from hetero.v1 import inference_pb2 as wire
from privacy.errors import DeniedError, PrivacyError
from privacy.identity.identifier import Presented
from privacy.types import Ask, Method, Principal, Protection

REQUESTS, CALLS = 10_000, 400
METHODS = ("Generate", "Embed", "Classify", "ClassifyVectors", "GetModel", "GetPlan", "ListDevices", "Absent")
#: What such calls may end with; INTERNAL and UNKNOWN would be defects.
REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}
WORDS = (
    "",
    "ward",
    "press",
    "mood",
    "nobody",
    "a/b",
    "\x00",
    "é",
    "💥",
    "ward\nadmin",
    "..",
    "x" * 300,
    "none",
    "*",
    "any",
)


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], papers: ModuleType, mood: Runtime) -> Any:
    """One permit, for `ward` to classify; everything else must be refused."""
    return start(papers.policy_of("mood", papers.permit("mood", "classify")), Served(mood, "mood"))


def random_token(draw: random.Random, office: Any) -> str:
    kinds: tuple[Callable[[], str], ...] = (
        lambda: draw.choice(WORDS),
        lambda: ".".join(draw.choice(WORDS) for _ in range(draw.randrange(5))),
        lambda: "".join(chr(draw.randrange(1, 0x300)) for _ in range(draw.randrange(60))),
        lambda: mutated(draw, office.token(draw.choice(WORDS) or "ward").encode()).decode("latin-1"),
        lambda: office.token(draw.choice((0, True, [], {}, "nobody")), sub=draw.choice((1, None, "", "x" * 999))),
    )
    return draw.choice(kinds)()


def mutated(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\x00")
    for _ in range(draw.randrange(1, 4)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.randrange(len(changed) + 1)] if draw.random() < 0.3 else changed)


def random_ask(draw: random.Random, principal: Principal) -> Ask:
    """Anything but what the policy permits."""
    count = draw.choice((1, 0, -1, 10**12, True, None, 1.5, "1"))
    method = draw.choice((*Method, "classify", None))
    ask = Ask(principal, draw.choice(WORDS), method, draw.choice((*Protection, "none")), count)  # type: ignore[arg-type]
    permitted = (ask.principal.tenant, ask.model, ask.method, ask.arrives) == ("ward", "mood", "classify", "none")
    return random_ask(draw, principal) if permitted else ask


def test_ten_thousand_requests_are_refused_by_identity_or_guard(server: Any, office: Any, mood: Runtime) -> None:
    draw, outcomes, steps = random.Random(20261122), Counter[str](), mood.stats().steps
    governance: Governance = server.governance
    for _ in range(REQUESTS):
        presented = Presented(
            tuple(draw.choice(WORDS) for _ in range(draw.randrange(3))),
            tuple(random_token(draw, office) for _ in range(draw.randrange(3))),
            tuple(draw.choice(WORDS) for _ in range(draw.choice((0, 0, 0, 1, 2)))),
        )
        try:
            principal = governance.identifier.identify(presented)
        except PrivacyError as error:
            outcomes[type(error).__name__] += 1
            principal = Principal(draw.choice(WORDS), "fuzz", draw.choice((None, *WORDS)), draw.random() < 0.5)
        with pytest.raises(PrivacyError):
            governance.guard.admit(random_ask(draw, principal), draw.randbytes(8))
    assert outcomes["CredentialError"] > REQUESTS * 0.9 and set(outcomes) == {"CredentialError"}
    assert mood.stats().steps == steps
    governance.guard.ledger.check_usable()


def random_message(draw: random.Random) -> bytes:
    messages = (
        wire.GenerateRequest(text=draw.choice(WORDS).replace("\x00", "")),
        wire.EmbedRequest(texts=[draw.choice(WORDS)]),
        wire.ClassifyRequest(texts=[]),
        wire.ClassifyVectorsRequest(vectors=[wire.Embedding(values=[1.0, float("nan")])]),
    )
    data = draw.choice(messages).SerializeToString()
    return draw.choice((data, mutated(draw, data), draw.randbytes(draw.randrange(40))))


def test_hundreds_of_calls_over_the_wire_are_refused(server: Any, office: Any, mood: Runtime) -> None:
    draw, steps, seen = random.Random(7), mood.stats().steps, Counter[grpc.StatusCode]()
    with grpc.insecure_channel(f"localhost:{server.port}") as channel:
        for _ in range(CALLS):
            tenant = draw.choice((None, "ward", "press", "nobody"))
            token = office.token(tenant) if tenant else draw.choice(("", "x.y.z", "Ünïcode".encode().hex()))
            method = draw.choice([name for name in METHODS if (tenant, name) not in ALLOWED])
            call = channel.unary_stream(f"/hetero.v1.HeteroService/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                list(call(random_message(draw), metadata=(("authorization", f"Bearer {token}"),), timeout=20))
            seen[caught.value.code()] += 1
    assert set(seen) <= REFUSALS, seen
    assert mood.stats().steps == steps
    with Client(f"localhost:{server.port}", token=office.token()) as client:
        assert client.classify(["the server still serves"])


#: What these tenants may ask: any tenant of the policy what model it is, and `ward` for classes.
ALLOWED = {("ward", "Classify"), ("ward", "GetModel"), ("press", "GetModel")}


def test_guard_that_breaks_inside_refuses(server: Any, office: Any, mood: Runtime) -> None:
    """Whatever is raised within the guard, the request ends as a refusal and without compute."""
    governance: Governance = server.governance
    steps = mood.stats().steps
    with pytest.raises(DeniedError):
        governance.guard.admit(Ask(None, "mood", Method.CLASSIFY), b"")  # type: ignore[arg-type]
    assert mood.stats().steps == steps
