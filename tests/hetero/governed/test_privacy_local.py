"""Local DP over a real channel: the client embeds and noises, the server takes nothing else, and never has more."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from hetero import InvalidRequestError, Runtime
from hetero.client import Client
from hetero.heads import Head, backbone_fingerprint, load_head, save_head
from hetero.local_dp import LocalClassifier
from hetero.served import Served, VectorsOnly, load_heads
from hetero.server.server import Server
from privacy.audit.receipts import verify_receipt
from privacy.errors import BudgetExhaustedError, DeniedError, MechanismError
from privacy.heads.card import HeadCard, Training
from privacy.heads.network import HeadShape
from privacy.local import protect_vectors
from privacy.types import MechanismSpec

WIDTH, SENT = 48, 8
PARAMETERS = {"clip": 1.0, "epsilon": 2.0, "delta": 1e-6, "grid": 0.0009765625}
SPEC = MechanismSpec("discrete-gaussian", tuple(sorted(PARAMETERS.items())))
#: Words that are in no other text of this process.
SECRET = "Quixotic zephyrs vex 83741 bold jackdaws"
PIECE, OVERLAP = 1 << 24, 4096
CONTROL = "Perfectly ordinary 55203 control sentence"


@pytest.fixture(scope="module")
def head_folder(checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head with a projection, for the embedder of these tests."""
    folder, draw = tmp_path_factory.mktemp("heads") / "triage", np.random.default_rng(7)
    fingerprint = backbone_fingerprint(checkpoint("minilm"))
    shape = HeadShape(WIDTH, 2, projected=SENT)
    card = HeadCard("minilm", fingerprint, ("calm", "urgent"), shape, Training(1, 1, 1.0, 1.0, 0.0), None)
    sizes = {"output.weight": (2, SENT), "output.bias": (2,)}
    sizes |= {"projection.weight": (SENT, WIDTH), "projection.bias": (SENT,)}
    save_head(folder, card, {name: draw.standard_normal(size).astype(np.float32) for name, size in sizes.items()})
    return folder


@pytest.fixture(scope="module")
def head(head_folder: Path) -> Head:
    return load_head(head_folder)


def local_policy(papers: ModuleType, *more: dict[str, Any]) -> dict[str, Any]:
    guarantee = papers.GUARANTEE | {"observer": "server", "epsilon": 12.0}
    changes = {"protection": "local-dp", "guarantee": guarantee}
    rule = papers.private("vectors", "classify-vectors", "discrete-gaussian", PARAMETERS, **changes)
    return papers.policy_of("vectors", rule, *more)


@pytest.fixture(scope="module")
def vector_server(
    start: Callable[..., Server], papers: ModuleType, checkpoint: Callable[..., Path], head_folder: Path
) -> Server:
    """A server that does not run the model at all."""
    model = str(checkpoint("minilm"))
    return start(local_policy(papers), Served(VectorsOnly(model), "vectors", load_heads([head_folder], model)))


@pytest.fixture
def client(vector_server: Server, office: Any, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(f"localhost:{vector_server.port}", token=office.token(sub=request.node.name)) as made:
        yield made


def test_policy_of_vectors_alone_needs_no_running_model(vector_server: Any) -> None:
    assert not vector_server.governance.sees_texts("vectors")


def test_client_classifies_by_noised_vectors(client: Client, vectors: Runtime, head: Head, vector_server: Any) -> None:
    private = LocalClassifier(client, vectors, SPEC, head)
    scored = private.classify(["one text", "another"])
    assert [scores.labels for scores in scored] == [("calm", "urgent")] * 2
    assert all(sum(scores.probabilities) == pytest.approx(1) for scores in scored)
    assert client.last_receipt is not None
    receipt = verify_receipt(client.last_receipt, vector_server.governance.guard.public_key)
    assert receipt.protection == "local-dp" and receipt.charged_rho > 0
    assert not np.array_equal(private.noised(["one text"]), private.noised(["one text"]))


def test_texts_and_clean_vectors_are_denied(client: Client, vectors: Runtime, head: Head) -> None:
    rows = head.project(vectors.embed(["text"]))
    for ask in (
        lambda: client.classify_vectors(rows),
        lambda: client.classify(["text"]),
        lambda: client.embed(["text"]),
        lambda: client.generate("text"),
    ):
        with pytest.raises(DeniedError):
            ask()


def test_vectors_that_only_claim_to_be_noised_are_refused(client: Client, vectors: Runtime, head: Head) -> None:
    rows = head.project(vectors.embed(["text"]))
    with pytest.raises(MechanismError, match="grid"):
        client.classify_vectors(rows / np.linalg.norm(rows), mechanism=SPEC)
    weak = MechanismSpec("discrete-gaussian", (("clip", 1.0), ("grid", 2.0**-10), ("noise_multiplier", 0.1)))
    with pytest.raises(InvalidRequestError, match="noise multiplier"):
        client.classify_vectors(protect_vectors(rows, weak).rows.astype(np.float32), mechanism=weak)
    with pytest.raises(InvalidRequestError, match="not one"):
        client.classify_vectors(rows, mechanism=MechanismSpec("trust-me"))
    with pytest.raises(InvalidRequestError, match="rows of 8 numbers"):
        client.classify_vectors(vectors.embed(["text"]), mechanism=SPEC)
    with pytest.raises(InvalidRequestError, match="no head"):
        client.classify_vectors(rows, head="unknown", mechanism=SPEC)


def test_stronger_noise_than_the_policys_is_welcome(client: Client, vectors: Runtime, head: Head) -> None:
    strong = MechanismSpec("discrete-gaussian", (("clip", 1.0), ("grid", 2.0**-10), ("noise_multiplier", 50.0)))
    assert LocalClassifier(client, vectors, strong, head).classify(["text"])[0].labels == ("calm", "urgent")


def test_budget_of_a_subject_ends(client: Client, vectors: Runtime, head: Head) -> None:
    private = LocalClassifier(client, vectors, SPEC, head)
    with pytest.raises(BudgetExhaustedError):
        for _ in range(100):
            private.classify(["text"] * 5)


@pytest.mark.ray
def test_server_never_has_the_clean_vector(
    papers: ModuleType,
    office: Any,
    checkpoint: Callable[..., Path],
    head_folder: Path,
    head: Head,
    vectors: Runtime,
    tmp_path: Path,
) -> None:
    """A canary search through the memory of the server and all its processes, the object store, logs and state."""
    in_the_clear = papers.permit("vectors", "embed", name="press-in-the-clear", tenants=["press"])
    policy = office.write_policy(tmp_path, local_policy(papers, in_the_clear))
    log = tmp_path / "server.log"
    with log.open("wb") as errors, _serving(checkpoint("minilm"), policy, head_folder, errors) as (process, address):
        with Client(address, token=office.token()) as client:
            LocalClassifier(client, vectors, SPEC, head).classify([SECRET])
        with Client(address, token=office.token("press")) as client:
            control = client.embed([CONTROL])
        clean = vectors.embed([SECRET])
        sent = head.project(clean)
        canaries = [clean.tobytes(), sent.tobytes(), SECRET.encode(), _on_grid(sent).tobytes()]
        assert _found(process, [control[0, :8].tobytes()]) == {0}, "the search finds what is there"
        assert _found(process, canaries) == set()
        logs = _ray_logs(process)
        assert any(path.name.startswith("gcs_server") for path in logs)
    kept = [path.read_bytes() for path in (log, *(tmp_path / "state").iterdir(), *logs) if path.is_file()]
    assert not any(canary in data for canary in canaries for data in kept)


def _on_grid(rows: Any) -> Any:
    norm = max(1.0, float(np.linalg.norm(rows)))
    return np.rint(rows / norm / PARAMETERS["grid"]).astype(np.int64)


class _serving:
    """A server of its own with real Ray, as a user starts it: (process, address)."""

    def __init__(self, model: Path, policy: Path, head_folder: Path, errors: Any) -> None:
        command = [sys.executable, "-m", "hetero", "serve", str(model), "--plan", "cpu/torch:0-6", "--json"]
        command += ["--grpc-port", "0", "--policy", str(policy), "--served-name", "vectors", "--head", str(head_folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)

    def __enter__(self) -> tuple[psutil.Process, str]:
        assert self._process.stdout is not None
        text = ""
        while line := self._process.stdout.readline():
            text += line
            try:
                return psutil.Process(self._process.pid), json.loads(text)["address"]
            except ValueError:
                continue
        raise AssertionError("the server did not come up")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def _found(process: psutil.Process, wanted: list[bytes]) -> set[int]:
    """Which of the byte strings are in the memory of the process or of what it started."""
    found: set[int] = set()
    for each in (process, *process.children(recursive=True)):
        for part in _memory(each.pid):
            found.update(number for number, canary in enumerate(wanted) if canary in part)
    return found


def _ray_logs(process: psutil.Process) -> list[Path]:
    """All that the server's Ray and its workers wrote."""
    words = (word for each in process.children(recursive=True) for word in each.cmdline())
    folders = {Path(word.removeprefix("--log_dir=")) for word in words if word.startswith("--log_dir=")}
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _memory(pid: int) -> Iterator[bytes]:
    """Every writable region that is in use, piece by piece: what a process got or computed is in one of these."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for begin, end in _regions(pid):
            for start in range(begin, end, PIECE):
                try:
                    yield os.pread(memory.fileno(), min(PIECE + OVERLAP, end - start), start)
                except OSError:
                    break  # a region of a device, or one that went away


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    """Regions of which some page is in memory, by /proc/PID/smaps."""
    span, writable = (0, 0), False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            begin, end = (int(text, 16) for text in first.split("-"))
            span, writable = (begin, end), rest[0].startswith("rw")
        elif first == "Rss:" and writable and int(rest[0]):
            yield span
