"""Plans with an encrypted stage, and servers that hold one: marked in a policy, measured, run by an actor, asked."""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from hetero.cli.main import run
from hetero.client import connect
from hetero.client_encrypted import EncryptedClient
from hetero.config import Settings
from hetero.devices import local_devices
from hetero.encrypted_models import layer_of_checkpoint, read_encrypted
from hetero.encrypted_stages import EncryptedStages, serve_marked
from hetero.governance import Governance, open_governance
from hetero.models.config_reader import read_config
from hetero.profiling.encrypted import measure_encrypted
from hetero.profiling.findings import Findings
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.request import keep
from hetero.served import Served, VectorsOnly
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from privacy.errors import AuditError, BudgetExhaustedError, DeniedError, EncryptionError
from privacy.he.client import Sealer
from privacy.he.files import save_spec
from privacy.he.gateway import GatewaySettings
from privacy.he.measuring import measure_rounds
from privacy.he.spec import Kind, linear_spec

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
MOOD = linear_spec("mood", np.random.default_rng(0).normal(size=(3, 48)), kind=Kind.CLASSIFY, labels=["a", "b", "c"])
LAYER = "pooler.dense"
QUERIES = 4 * 16


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("heads") / "mood.safetensors"
    save_spec(file, MOOD)
    return file


@pytest.fixture(scope="module")
def encoder(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("minilm")


@pytest.fixture
def search() -> ModuleType:
    """The search for a key in the memory of a process."""
    spec = importlib.util.spec_from_file_location("search", Path(__file__).parents[1] / "test_secret_key.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def policy_of(papers: ModuleType, *rules: Any, see: str = "ciphertext") -> dict[str, Any]:
    devices = [{"device": "any", "may_see": [see]}]
    return papers.policy_of("minilm", *rules, models=["minilm", "mood", LAYER], devices=devices)


def sealed(papers: ModuleType, *models: str) -> dict[str, Any]:
    bounded = {"max_queries": QUERIES, "lifetime": "forever", "weights": "not-protected-beyond-max-queries"}
    return papers.permit("mood", "any", name="sealed", models=list(models), protection="encrypted", encrypted=bounded)


@pytest.fixture(scope="module")
def governance(office: Any, papers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governance]:
    policy = policy_of(papers, sealed(papers, "mood", LAYER))
    with open_governance(office.write_policy(tmp_path_factory.mktemp("policy"), policy)) as made:
        yield made


@pytest.fixture(scope="module")
def marked(governance: Governance, encoder: Path, head: Path) -> Iterator[EncryptedStages]:
    with pytest.MonkeyPatch.context() as patch:
        # Every test is a client with keys of its own: more uploads than one tenant may send in so short a time.
        patch.setattr("hetero.encrypted_stages.GatewaySettings", partial(GatewaySettings, uploads_per_second=0))
        with serve_marked(str(encoder), Settings(encrypted=(head,)), governance) as made:
            assert made is not None
            yield made


@pytest.fixture(scope="module")
def address(marked: EncryptedStages, governance: Governance, encoder: Path, office: Any) -> Iterator[str]:
    """A server whose model no text may reach: it holds the encrypted stages alone."""
    with Server(ServerSettings(port=0, tls=office.tls), governance, marked.service) as server:
        server.attach(Served(VectorsOnly(str(encoder)), "minilm"))
        yield f"localhost:{server.port}"


@pytest.fixture
def tenant(office: Any, address: str) -> Iterator[Callable[[str], EncryptedClient]]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(
            EncryptedClient(address, tls=office.trusting, token=office.token(name), timeout=60)
        )


def test_a_marked_head_answers_ciphertexts_and_counts_them(
    tenant: Callable[[str], EncryptedClient], governance: Governance
) -> None:
    model = tenant("ward").model("mood")
    assert f"{QUERIES} vectors in all" in model.description.statement
    vectors = np.random.default_rng(1).normal(size=(2, 48)) / 8
    assert abs(model(vectors) - MOOD.in_the_clear(vectors)).max() < 1e-4
    room = model.description.vectors
    (account,) = (each for each in governance.policy.accounts() if each.name == "ward/mood")
    assert governance.guard.ledger.spent(account) == room
    for _ in range(QUERIES // room - 1):
        model(vectors[:1])
    with pytest.raises(BudgetExhaustedError):
        model(vectors[:1])


def test_a_marked_layer_of_the_checkpoint_is_served(
    tenant: Callable[[str], EncryptedClient], encoder: Path, marked: EncryptedStages
) -> None:
    assert [stage.layer for stage in marked.stages] == ["mood", LAYER]
    vectors = np.ones((1, 48)) / 48
    wanted = layer_of_checkpoint(encoder, LAYER).in_the_clear(vectors)
    assert abs(tenant("ward").model(LAYER)(vectors) - wanted).max() < 1e-4


def test_in_the_clear_and_without_a_rule_everything_is_refused(
    tenant: Callable[[str], EncryptedClient], office: Any, address: str
) -> None:
    with pytest.raises(DeniedError):
        tenant("press").model("mood")(np.ones((1, 48)) / 48)
    with connect(address, tls=office.trusting, token=office.token("ward")) as plain:
        for ask in (plain.embed, plain.classify):
            with pytest.raises(DeniedError):
                ask(["a text"])


def test_answers_are_on_record(governance: Governance, tenant: Callable[[str], EncryptedClient]) -> None:
    tenant("ward").model(LAYER)(np.ones((1, 48)) / 48)
    log = governance.policy.state.audit_file.read_text()
    assert '"apply-encrypted"' in log and '"encrypted"' in log


def test_every_answer_has_a_receipt_that_is_its_own(governance: Governance, office: Any, address: str) -> None:
    def ask(public_key: bytes) -> EncryptedClient:
        token = office.token("ward")
        client = EncryptedClient(address, tls=office.trusting, token=token, timeout=60, public_key=public_key)
        with client:
            client.model(LAYER)(np.ones((9, 48)) / 48)
        return client

    receipt = ask(governance.guard.public_key).last_receipt
    assert receipt is not None and b'"protection":"encrypted"' in receipt
    with pytest.raises(AuditError):
        ask(bytes(32))


def test_the_secret_key_is_with_no_actor_no_worker_and_not_in_rays_memory(
    marked: EncryptedStages, tenant: Callable[[str], EncryptedClient], search: ModuleType
) -> None:
    model = tenant("ward").model(LAYER)
    model(np.ones((1, 48)) / 48)
    pieces = search.windows_of(model.keys)
    stores = [process.pid for process in psutil.Process().children(recursive=True) if process.name() == "raylet"]
    assert stores and search.found_in(os.getpid(), pieces) > 10
    assert [search.found_in(pid, pieces) for pid in (*marked.service.gateway.pool.pids, *stores)] == [0] * (
        len(stores) + 2
    )


def test_the_actor_refuses_what_is_no_ciphertext_and_asks_for_lost_keys(marked: EncryptedStages) -> None:
    gateway = marked.service.gateway
    description = gateway.model("mood")
    sealer = Sealer(description)
    bundle, (good,) = sealer.bundle(), sealer.seal(np.ones((1, 48)) / 48)
    applied = gateway.pool.apply(description.digest, "new/keys", lambda: bundle, good)
    assert sealer.open([applied.answers], 1).shape == (1, 3)
    with pytest.raises(EncryptionError, match="Ciphertext"):
        gateway.pool.apply(description.digest, "new/keys", lambda: bundle, good[:100] + bytes(1000))
    with pytest.raises(EncryptionError, match="TenSEAL"):
        gateway.pool.accept("other/keys", type(bundle)(bundle.parameter_name, b"nonsense", bundle.galois))
    assert os.getpid() not in gateway.pool.pids and len(gateway.pool.pids) == 2


Planned = Callable[..., dict[str, Any]]


@pytest.fixture
def planned(
    office: Any, encoder: Path, head: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    def command(policy: dict[str, Any], *flags: object, heads: bool = True) -> dict[str, Any]:
        file = office.write_policy(tmp_path, policy)
        capfd.readouterr()
        more = ["--encrypted", str(head)] if heads else []
        assert run(["plan", str(encoder), "--policy", str(file), *more, "--json", *map(str, flags)]) == 0
        document: dict[str, Any] = json.loads(capfd.readouterr().out)
        return document

    return command


def test_a_plan_tells_the_measured_cost_of_its_encrypted_stage(
    planned: Planned,
    papers: ModuleType,
    marked: EncryptedStages,
    encoder: Path,
    head: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    policy = policy_of(papers, sealed(papers, "mood"))
    before = planned(policy)
    assert before["encrypted"][0]["predicted_seconds"] is None
    devices, config, mood = local_devices(), read_config(encoder), read_encrypted(head)
    measured_times = measure_encrypted([mood], devices, None, lambda done, whole, text: None)
    keep(Findings(encrypted=measured_times), fingerprint(encoder, devices), config, tmp_path)
    after = planned(policy)
    (stage,) = after["encrypted"]
    assert after["plan"] == "client/own@fp32:0-6,cpu/encrypted@ckks-8192-1:mood"
    assert stage["layer"] == "mood" and stage["sees"] == ["ciphertext"]
    rounds = measure_rounds(marked.service.gateway.pool, mood, rounds=7).rounds
    measured = sorted(each.round_seconds for each in rounds)[3]
    assert measured / 4 < stage["predicted_seconds"] < measured * 4
    assert stage["sent_bytes"] == pytest.approx(rounds[0].sent_bytes, rel=0.05)
    assert stage["answered_bytes"] == pytest.approx(rounds[0].answered_bytes, rel=0.05)


def test_plans_without_an_encrypted_rule_have_no_encrypted_stage(planned: Planned, papers: ModuleType) -> None:
    found = planned(policy_of(papers, papers.permit("minilm", "embed"), see="raw-tokens"), heads=False)
    assert "encrypted" not in found and found["plan"].endswith(":0-6") and "client" not in found["plan"]


def test_files_that_no_rule_marks_are_refused(
    office: Any, papers: ModuleType, encoder: Path, head: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = office.write_policy(tmp_path, policy_of(papers, papers.permit("minilm", "embed"), see="raw-tokens"))
    assert run(["plan", str(encoder), "--policy", str(file), "--encrypted", str(head)]) == 2
    assert "protection: encrypted" in capfd.readouterr().err
    assert run(["serve", str(encoder), "--encrypted", str(head)]) == 2
    assert "--policy" in capfd.readouterr().err


def test_strangers_reach_no_encrypted_stage(address: str, office: Any) -> None:
    with EncryptedClient(address, tls=office.trusting, timeout=30) as stranger, pytest.raises(Exception) as caught:
        stranger.models()
    assert not isinstance(caught.value, grpc.RpcError) and "credential" in str(caught.value)
