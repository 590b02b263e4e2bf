"""Who is let in: every credential that does not prove a tenant is refused by the right status, before any compute."""

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hetero import ClientTls, Runtime, UnavailableError, connect
from hetero.client import Client
from hetero.served import Served
from hetero.server.server import Server
from hetero.server.status import ERROR_KEY
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub
from privacy.errors import CredentialError, DeniedError

STATUS = grpc.StatusCode


@pytest.fixture(scope="module")
def plain_rules(papers: ModuleType) -> dict[str, Any]:
    return papers.policy_of("mood", papers.permit("mood", "classify"))


@pytest.fixture(scope="module")
def by_token(start: Callable[..., Server], office: Any, plain_rules: dict[str, Any], mood: Runtime) -> Server:
    return start(plain_rules, Served(mood, "mood"), tls=office.tls)


@pytest.fixture(scope="module")
def by_certificate(start: Callable[..., Server], office: Any, plain_rules: dict[str, Any], mood: Runtime) -> Server:
    certificates = [
        {"san": "ward.example", "tenant": "ward"},
        {"san": "spiffe://example/press", "tenant": "press"},
        {"san": "root.example", "tenant": "press", "admin": True},
    ]
    identity = {"certificates": certificates, "jwt": plain_rules["identity"]["jwt"]}
    return start(plain_rules | {"identity": identity}, Served(mood, "mood"), tls=office.mutual)


@pytest.fixture
def ask(office: Any, mood: Runtime) -> Iterator[Callable[..., tuple[grpc.StatusCode, str]]]:
    """`ask(server, tls, *headers)`: the status of one request, and that one which was refused was not computed."""

    def asked(server: Server, tls: ClientTls, *headers: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
        steps = mood.stats().steps
        with grpc.secure_channel(f"localhost:{server.port}", tls.credentials()) as channel:
            try:
                HeteroServiceStub(channel).Classify(wire.ClassifyRequest(texts=["a"]), metadata=headers, timeout=10)
            except grpc.RpcError as error:
                assert mood.stats().steps == steps, "a refused request was computed"
                return error.code(), dict(error.trailing_metadata() or ()).get(ERROR_KEY, "")
        return STATUS.OK, ""

    yield asked


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def test_valid_token_is_served(by_token: Server, office: Any, ask: Callable[..., Any]) -> None:
    assert ask(by_token, office.trusting, bearer(office.token())) == (STATUS.OK, "")


WRONG_TOKENS: dict[str, Callable[[Any], str]] = {
    "expired": lambda office: office.token(exp=time.time() - 60),
    "without expiry": lambda office: office.token(exp=None),
    "not yet valid": lambda office: office.token(nbf=time.time() + 600),
    "wrong audience": lambda office: office.token(aud="another"),
    "without audience": lambda office: office.token(aud=None),
    "wrong issuer": lambda office: office.token(iss="https://evil.example"),
    "without issuer": lambda office: office.token(iss=None),
    "without tenant": lambda office: office.token(None),
    "tenant is a list": lambda office: office.token(["ward"]),
    "wrong key": lambda office: office.token(key=ec.generate_private_key(ec.SECP256R1())),
    "alg none": lambda office: jwt.encode(office.claims(), None, algorithm="none", headers={"kid": "k1"}),
    "symmetric by public key": lambda office: jwt.encode(office.claims(), "x" * 64, "HS256", headers={"kid": "k1"}),
    "unknown kid": lambda office: jwt.encode(office.claims(), office.signing_key, "ES256", headers={"kid": "k9"}),
    "another allowed family": lambda office: office.token(
        key=ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"
    ),
    "cut signature": lambda office: office.token()[:-10],
    "swapped payload": lambda office: _with_payload_of(office.token(), office.token("press")),
    "no token at all": lambda office: "",
    "noise": lambda office: "a.b.c",
    "huge": lambda office: office.token(padding="x" * 3500),
}


def _with_payload_of(signed: str, other: str) -> str:
    head, _, signature = signed.split(".")
    return ".".join((head, other.split(".")[1], signature))


@pytest.mark.parametrize("kind", WRONG_TOKENS)
def test_wrong_token_is_unauthenticated(kind: str, by_token: Server, office: Any, ask: Callable[..., Any]) -> None:
    answer = ask(by_token, office.trusting, bearer(WRONG_TOKENS[kind](office)))
    assert answer == (STATUS.UNAUTHENTICATED, "CredentialError")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", "Basic d2FyZDp3YXJk"),),
        (("x-api-key", "hk_unknown"),),
        (("x-tenant", "ward"), ("tenant", "ward")),
    ],
    ids=["none", "basic", "unknown key", "claimed by header"],
)
def test_other_headers_prove_nobody(
    headers: tuple[tuple[str, str], ...], by_token: Server, office: Any, ask: Callable[..., Any]
) -> None:
    assert ask(by_token, office.trusting, *headers) == (STATUS.UNAUTHENTICATED, "CredentialError")


def test_two_tokens_are_refused_even_if_one_is_good(by_token: Server, office: Any, ask: Callable[..., Any]) -> None:
    both = bearer(office.token()), bearer(office.token("press"))
    assert ask(by_token, office.trusting, *both) == (STATUS.UNAUTHENTICATED, "CredentialError")


def test_tenant_without_a_rule_is_denied(by_token: Server, office: Any, ask: Callable[..., Any]) -> None:
    assert ask(by_token, office.trusting, bearer(office.token("press"))) == (STATUS.PERMISSION_DENIED, "DeniedError")


def test_tenant_that_the_policy_does_not_know_is_denied(by_token: Server, office: Any, ask: Callable[..., Any]) -> None:
    assert ask(by_token, office.trusting, bearer(office.token("nobody"))) == (STATUS.PERMISSION_DENIED, "DeniedError")


def test_certificate_names_its_tenant(by_certificate: Server, office: Any, ask: Callable[..., Any]) -> None:
    assert ask(by_certificate, office.authority.client("ward.example")) == (STATUS.OK, "")
    denied = ask(by_certificate, office.authority.client("spiffe://example/press"))
    assert denied == (STATUS.PERMISSION_DENIED, "DeniedError")


def test_client_without_a_certificate_is_turned_away(
    by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    assert ask(by_certificate, office.trusting, bearer(office.token()))[0] is STATUS.UNAVAILABLE


def test_certificate_of_another_authority_is_turned_away(
    by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    assert ask(by_certificate, office.stranger.client("ward.example"))[0] is STATUS.UNAVAILABLE


def test_expired_certificate_is_turned_away(by_certificate: Server, office: Any, ask: Callable[..., Any]) -> None:
    expired = office.authority.client("ward.example", hours=-1.0)
    assert ask(by_certificate, expired)[0] is STATUS.UNAVAILABLE


@pytest.mark.parametrize("name", ["ward.example.evil", "wardexample", "spiffe://ward.example", "example"])
def test_certificate_of_a_similar_name_proves_nobody(
    name: str, by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    assert ask(by_certificate, office.authority.client(name)) == (STATUS.UNAUTHENTICATED, "CredentialError")


def test_token_of_another_tenant_over_a_certificate_is_refused(
    by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    spoofed = ask(by_certificate, office.authority.client("spiffe://example/press"), bearer(office.token("ward")))
    assert spoofed == (STATUS.UNAUTHENTICATED, "CredentialError")


def test_broken_token_over_a_good_certificate_is_refused(
    by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    broken = ask(by_certificate, office.authority.client("ward.example"), bearer(office.token(exp=1)))
    assert broken == (STATUS.UNAUTHENTICATED, "CredentialError")


def test_certificate_without_a_tenant_lets_a_token_speak(
    by_certificate: Server, office: Any, ask: Callable[..., Any]
) -> None:
    assert ask(by_certificate, office.authority.client("proxy.example"), bearer(office.token())) == (STATUS.OK, "")


def test_client_raises_what_the_server_raised(by_token: Server, office: Any) -> None:
    address = f"localhost:{by_token.port}"
    with Client(address, tls=office.trusting) as client, pytest.raises(CredentialError, match="missing"):
        client.classify(["a"])
    press = Client(address, tls=office.trusting, token=office.token("press"))
    with press as client, pytest.raises(DeniedError, match="no rule permits"):
        client.classify(["a"])


def test_admin_methods_want_the_admin_role(by_certificate: Server, office: Any) -> None:
    address = f"localhost:{by_certificate.port}"
    with connect(address, tls=office.authority.client("ward.example")) as client:
        assert client.info.name == "mood"
        for admin in (lambda: client.plan, client.devices, client.budgets):
            with pytest.raises(DeniedError, match="administrators"):
                admin()
    with connect(address, tls=office.authority.client("root.example")) as client:
        assert client.plan.stages and client.devices()
        assert client.budgets() == []
        with pytest.raises(DeniedError):
            client.classify(["an administrator may not ask for that"])


def test_admin_claim_of_a_token_counts_only_if_it_is_true(by_token: Server, office: Any) -> None:
    address = f"localhost:{by_token.port}"
    with connect(address, tls=office.trusting, token=office.token(admin=True)) as client:
        assert client.plan.stages
    for claim in ("true", 1, None):
        other = Client(address, tls=office.trusting, token=office.token(admin=claim))
        with other as client, pytest.raises(DeniedError):
            client.devices()


def test_reflection_is_off_and_health_is_open(by_token: Server, office: Any) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    credentials = office.trusting.credentials()
    with grpc.secure_channel(f"localhost:{by_token.port}", credentials) as channel, pytest.raises(grpc.RpcError) as got:
        list(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert got.value.code() is STATUS.UNIMPLEMENTED
    with connect(f"localhost:{by_token.port}", tls=office.trusting) as client:
        assert client.is_serving()


def test_plain_connection_to_a_tls_server_gets_nothing(by_token: Server) -> None:
    with pytest.raises(UnavailableError):
        connect(f"localhost:{by_token.port}")
