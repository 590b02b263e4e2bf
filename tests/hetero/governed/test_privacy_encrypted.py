"""Encrypted models under a policy, over a real channel: admitted and counted by the guard, with receipts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hetero import Runtime
from hetero.client_encrypted import EncryptedClient
from hetero.errors import AuthenticationError
from hetero.governance import open_governance
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from privacy.errors import BudgetExhaustedError, CredentialError, DeniedError
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.spec import Kind, linear_spec

HEAD = linear_spec("head", np.random.default_rng(0).normal(size=(3, 2048)), kind=Kind.CLASSIFY)
OTHER = linear_spec("other", np.random.default_rng(1).normal(size=(3, 2048)), kind=Kind.LAYER)
QUERIES = 4


def sealed_policy(papers: ModuleType) -> dict[str, Any]:
    encrypted = {
        "max_queries": QUERIES,
        "lifetime": "forever",
        "weights": "not-protected-beyond-max-queries",
    }
    rule = papers.permit("head", "classify-encrypted", name="sealed", protection="encrypted", encrypted=encrypted)
    devices = [{"device": "any", "may_see": ["ciphertext"]}]
    return papers.policy_of("head", rule, devices=devices)


@pytest.fixture(scope="module")
def address(office: Any, papers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = office.write_policy(tmp_path_factory.mktemp("policy"), sealed_policy(papers))
    with ExitStack() as stack:
        governance = stack.enter_context(open_governance(file))
        gateway = stack.enter_context(closing(Gateway([HEAD, OTHER], GatewaySettings(queries_per_epoch=0))))
        settings = ServerSettings(port=0, tls=office.tls)
        server = stack.enter_context(EncryptedServer(settings, Encrypted(gateway), governance))
        yield f"localhost:{server.port}"


@pytest.fixture
def connected(office: Any, address: str) -> Iterator[Callable[..., EncryptedClient]]:
    with ExitStack() as stack:
        yield lambda token=None: stack.enter_context(EncryptedClient(address, tls=office.trusting, token=token))


def test_a_tenant_is_served_until_its_queries_are_spent(office: Any, connected: Callable[..., EncryptedClient]) -> None:
    model = connected(office.token("ward")).model("head")
    vectors = np.random.default_rng(2).normal(size=(1, 2048)) / 50
    assert model.description.vectors == 1
    for _ in range(QUERIES):
        assert abs(model(vectors) - HEAD.in_the_clear(vectors)).max() < 1e-4
    with pytest.raises(BudgetExhaustedError):
        model(vectors)


def test_tenants_models_and_methods_that_no_rule_permits_are_denied(
    office: Any, connected: Callable[..., EncryptedClient]
) -> None:
    vectors = np.ones((1, 2048)) / 2048
    with pytest.raises(DeniedError):
        connected(office.token("press")).model("head")(vectors)
    with pytest.raises(DeniedError):
        connected(office.token("ward")).model("other")(vectors)


def test_strangers_are_not_even_told_what_there_is(office: Any, connected: Callable[..., EncryptedClient]) -> None:
    for token in (None, office.token(key=None, aud="elsewhere"), office.token("nobody")):
        with pytest.raises((CredentialError, AuthenticationError, DeniedError)):
            connected(token).models()


def test_a_server_with_a_model_serves_encrypted_ones_under_the_same_policy(
    office: Any, papers: ModuleType, story: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = office.write_policy(tmp_path_factory.mktemp("policy"), sealed_policy(papers))
    with ExitStack() as stack:
        governance = stack.enter_context(open_governance(file))
        gateway = stack.enter_context(closing(Gateway([HEAD], GatewaySettings(queries_per_epoch=0))))
        settings = ServerSettings(port=0, tls=office.tls)
        server = stack.enter_context(Server(settings, governance, Encrypted(gateway)))
        server.attach(story)
        address = f"localhost:{server.port}"
        token = office.token("ward")
        client = stack.enter_context(EncryptedClient(address, tls=office.trusting, token=token))
        vectors = np.ones((1, 2048)) / 2048
        assert abs(client.model("head")(vectors) - HEAD.in_the_clear(vectors)).max() < 1e-4
