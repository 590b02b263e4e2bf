"""Questions about private documents: answered under a policy, charged to the documents before the model runs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest

from hetero import InvalidRequestError, PromptTooLongError, Runtime
from hetero.client import Client
from hetero.document_answers import DocumentAnswers, Patience, answering
from hetero.documents import DocumentWriter
from hetero.errors import CancelledRequestError, OverloadedError
from hetero.served import Served, VectorsOnly
from hetero.server.server import Server
from hetero.types import SamplingParams
from privacy.audit.receipts import Receipt, verify_receipt
from privacy.errors import BudgetExhaustedError, DeniedError
from privacy.mechanisms import DocumentTokens

PARAMETERS = {"clip": 0.5, "temperature": 1.0, "documents": 4.0, "top_k": 50.0}
MECHANISM = DocumentTokens(0.5, 1.0, 4, 50)
#: No model of this size would say it by itself.
CANARY = "Zyx83741"
PLACES = {"Max": CANARY, "Rex": "the king", "Bob": "the ship", "Tom": "a tree", "Sam": "a bench"}
TEXTS = [f"{name} the dog had a red ball in the park, near {place}." for name, place in PLACES.items()]
QUESTION = "Which dog had a ball? Once upon a time"
TOKENS = 12
PLAN = "cpu/torch:0-5"


def documents_policy(papers: ModuleType, epsilon: float, **channels: float) -> dict[str, Any]:
    stated = {"unit": "document", "adjacency": "replace-one", "observer": "querier", "epsilon": epsilon}
    asked = {"tenants": ["ward", "press"], "budget": {"owner": "dataset", "name": "letters"}, "side_channels": channels}
    guarantee = papers.GUARANTEE | stated
    rule = papers.private("story", "generate", "private-documents", PARAMETERS, guarantee=guarantee, **asked)
    policy: dict[str, Any] = papers.policy_of("story", rule)
    return policy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("documents")
    for number, text in enumerate(TEXTS):
        (made / f"{number}.txt").write_text(text)
    return made


@pytest.fixture(scope="module")
def answers(stories260k: Path, folder: Path) -> Iterator[DocumentAnswers]:
    with answering(str(stories260k), folder, [MECHANISM], plan=PLAN) as made:
        yield made


@pytest.fixture
def ask(office: Any) -> Iterator[Callable[..., Client]]:
    opened: list[Client] = []

    def made(server: Server, tenant: str = "ward") -> Client:
        opened.append(Client(f"localhost:{server.port}", token=office.token(tenant)))
        return opened[-1]

    yield made
    for client in opened:
        client.close()


@pytest.fixture
def server_of(
    start: Callable[..., Server], papers: ModuleType, stories260k: Path, answers: DocumentAnswers
) -> Callable[..., Any]:
    """A server whose documents have a budget of so much epsilon."""

    def made(epsilon: float, **channels: float) -> Any:
        served = Served(VectorsOnly(str(stories260k)), "story", documents=answers)
        return start(documents_policy(papers, epsilon, **channels), served)

    return made


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What `spent` says at each call of the model, once a test has set it."""
    seen: list[float] = []
    step = DocumentWriter._step

    def counted(self: DocumentWriter, *arguments: Any) -> Any:
        seen.append(counted.spent())  # type: ignore[attr-defined]
        return step(self, *arguments)

    counted.spent = lambda: 0.0  # type: ignore[attr-defined]
    monkeypatch.setattr(DocumentWriter, "_step", counted)
    return seen


def receipt(client: Client, server: Any) -> Receipt:
    assert client.last_receipt is not None
    return verify_receipt(client.last_receipt, server.governance.guard.public_key)


def spent(server: Any) -> float:
    (account,) = server.governance.policy.accounts()
    assert account.name == "letters"
    return float(server.governance.guard.ledger.spent(account))


def test_an_answer_is_charged_before_the_model_runs_and_its_receipt_says_what_for(
    server_of: Callable[[float], Any], ask: Callable[..., Client], steps: list[float]
) -> None:
    server = server_of(8.0)
    DocumentWriter._step.spent = lambda: spent(server)  # type: ignore[attr-defined]
    client = ask(server)
    chunks = list(client.stream(QUESTION, max_tokens=TOKENS, ignore_eos=True))
    cost = MECHANISM.charge(TOKENS).rho
    assert len(chunks) == 1 and len(chunks[0].token_ids) == TOKENS and chunks[0].text
    # The question alone and four documents go in one by one, then all five together for each further token.
    assert len(steps) == 5 + TOKENS - 1 and steps == pytest.approx([cost] * len(steps))
    told = receipt(client, server)
    assert told.charged_rho == pytest.approx(cost) and told.protection == "output-dp" and not told.replayed
    assert told.guarantee is not None and (told.guarantee.unit, told.guarantee.observer) == ("document", "querier")
    assert "private-documents" in told.mechanism


def test_an_identical_question_gets_the_stored_bytes_for_nothing(
    server_of: Callable[[float], Any], ask: Callable[..., Client], steps: list[float]
) -> None:
    server = server_of(8.0)
    client = ask(server)
    first = client.generate(QUESTION, max_tokens=TOKENS)
    before, calls = spent(server), len(steps)
    again = client.generate(QUESTION, max_tokens=TOKENS)
    assert again.token_ids == first.token_ids and len(steps) == calls and spent(server) == before
    assert receipt(client, server).replayed
    client.generate(QUESTION, max_tokens=TOKENS, nonce="anew")
    assert len(steps) > calls and spent(server) == pytest.approx(2 * before)


def test_the_documents_budget_is_everyones_and_ends_without_a_call_of_the_model(
    server_of: Callable[[float], Any], ask: Callable[..., Client], steps: list[float]
) -> None:
    server = server_of(6.0)
    tenants = [ask(server), ask(server, "press")]
    with pytest.raises(BudgetExhaustedError):
        for number in range(100):
            tenants[number % 2].generate(QUESTION, max_tokens=TOKENS, nonce=str(number))
    calls, before = len(steps), spent(server)
    assert calls > 0 and before + MECHANISM.charge(TOKENS).rho > server.governance.policy.accounts()[0].rho_cap
    for client in tenants:
        with pytest.raises(BudgetExhaustedError):
            client.generate("What else?", max_tokens=TOKENS)
    assert len(steps) == calls and spent(server) == before


def test_what_cannot_be_answered_is_refused_for_nothing(
    server_of: Callable[[float], Any], ask: Callable[..., Client], steps: list[float], stories260k: Path
) -> None:
    server = server_of(8.0)
    client = ask(server)
    for wrong in ({"temperature": 0.3}, {"seed": 1}, {"logprobs": 2}, {"top_k": 3}, {"repetition_penalty": 1.2}):
        with pytest.raises(InvalidRequestError):
            client.generate(QUESTION, max_tokens=4, **wrong)
    with pytest.raises(InvalidRequestError, match="token ids"):
        client.generate([5, 6, 7], max_tokens=4)
    with pytest.raises(PromptTooLongError):
        client.generate(QUESTION, max_tokens=511)
    with pytest.raises(DeniedError):
        client.embed(["a text"])
    assert steps == [] and spent(server) == 0


def test_no_document_is_in_what_the_server_keeps(server_of: Callable[[float], Any], ask: Callable[..., Client]) -> None:
    server = server_of(8.0)
    ask(server).generate(QUESTION, max_tokens=TOKENS)
    kept = list(server.governance.policy.state.directory.iterdir())
    assert len(kept) > 3 and not any(CANARY.encode() in path.read_bytes() for path in kept)


def test_documents_that_agree_are_followed_and_one_alone_is_not(stories260k: Path, tmp_path: Path) -> None:
    """Eight in eight are let through: the answer is the one to their text; to one in eight it is not."""
    mechanism = DocumentTokens(clip=20.0, temperature=1e-3, documents=8)
    sampling, patience = SamplingParams(max_tokens=16), Patience(Event())
    said: list[str] = []
    for texts in (["Lily had a red ball."] * 8, ["Lily had a red ball."], ["Nothing of it whatever"]):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        for number, text in enumerate(texts):
            (folder / f"{number}.txt").write_text(text)
        with answering(str(stories260k), folder, [mechanism], plan=PLAN) as answers:
            said.append(answers.submit("The red ball", sampling, mechanism, patience).result().text)
    with Runtime(str(stories260k), PLAN, in_process=True, threads=1) as runtime:
        assert said[0] == runtime.generate("Lily had a red ball.\n\nThe red ball", max_tokens=16).text
        assert said[2] == runtime.generate("The red ball", max_tokens=16).text
    assert said[0] not in said[1:]


def test_a_question_that_is_given_up_is_not_answered_to_its_end(answers: DocumentAnswers, steps: list[float]) -> None:
    given_up = Event()
    DocumentWriter._step.spent = lambda: given_up.set() or 0.0  # type: ignore[attr-defined]
    left = answers.submit(QUESTION, SamplingParams(max_tokens=400), MECHANISM, Patience(given_up))
    with pytest.raises(CancelledRequestError):
        left.result()
    assert len(steps) == 5


def test_a_question_keeps_its_place_until_its_answer_leaves(
    server_of: Callable[..., Any], ask: Callable[..., Client], steps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who is refused for a full queue would learn how long the answer before really took."""
    monkeypatch.setattr("hetero.document_answers.MAX_WAITING", 0)
    client = ask(server_of(8.0, release_grid_seconds=2.0))
    with ThreadPoolExecutor(1) as aside:
        first = aside.submit(client.generate, QUESTION, max_tokens=1)
        while len(steps) < 5:
            time.sleep(0.01)
        with pytest.raises(OverloadedError):
            client.generate("What else?", max_tokens=1)
        assert first.result().completion_tokens == 1


def test_hetero_serve_answers_from_a_folder(
    papers: ModuleType, office: Any, stories260k: Path, folder: Path, tmp_path: Path
) -> None:
    """As a user starts it: no rule lets a text reach the engine, so there is none, and no Ray."""
    policy = office.write_policy(tmp_path, documents_policy(papers, 8.0))
    command = [sys.executable, "-m", "hetero", "serve", str(stories260k), "--served-name", "story", "--plan", PLAN]
    command += ["--policy", str(policy), "--documents", str(folder), "--grpc-port", "0", "--json"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert said["documents"]["count"] == len(TEXTS) and said["plan"] == []
            with Client(said["address"], token=office.token()) as client:
                assert client.generate(QUESTION, max_tokens=4, ignore_eos=True).completion_tokens == 4
                assert client.last_receipt is not None
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert CANARY not in (tmp_path / "log").read_text()
