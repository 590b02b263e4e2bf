"""What leaves under a policy: labels without probabilities, noised vectors, bounded completions; a receipt for each."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest

from hetero import InvalidRequestError, PromptTooLongError, Runtime
from hetero.client import Client
from hetero.served import Served
from hetero.server.server import Server
from privacy.audit.receipts import Receipt, verify_receipt
from privacy.errors import AuditError, BudgetExhaustedError, LedgerError
from privacy.mechanisms import RandomisedResponse

TEXTS = ["good work", "bad work"]
#: A label costs 0.005 rho, and the budget of (8, 1e-6) is enough for some 180 of them.
LABELS = {"epsilon": 0.1, "labels": 3.0}
BOUNDED = {"clip": 1.0, "temperature": 4.0}
LABELS_OF = {"epsilon": 0.1, "labels": 3}
CHANNELS = {"pad_bytes": 256, "release_grid_seconds": 0.02}


@pytest.fixture
def client_of(office: Any) -> Iterator[Callable[..., Client]]:
    opened: list[Client] = []

    def made(server: Server, **more: Any) -> Client:
        subject = more.pop("subject", "patient-1")
        client = Client(f"localhost:{server.port}", token=office.token(sub=subject), **more)
        opened.append(client)
        return client

    yield made
    for client in opened:
        client.close()


@pytest.fixture(scope="module")
def label_server(start: Callable[..., Server], papers: ModuleType, mood: Runtime) -> Server:
    rule = papers.private("mood", "classify", "randomised-response", LABELS, side_channels=CHANNELS)
    return start(papers.policy_of("mood", rule), Served(mood, "mood"))


@pytest.fixture(scope="module")
def vector_server(start: Callable[..., Server], papers: ModuleType, vectors: Runtime) -> Server:
    parameters = {"clip": 1.0, "epsilon": 2.0, "delta": 1e-6, "grid": 0.0009765625}
    rule = papers.private("vectors", "embed", "discrete-gaussian", parameters)
    return start(papers.policy_of("vectors", rule), Served(vectors, "vectors"))


@pytest.fixture(scope="module")
def story_server(start: Callable[..., Server], papers: ModuleType, story: Runtime) -> Server:
    guarantee = papers.GUARANTEE | {"epsilon": 40.0}
    rule = papers.private("story", "generate", "bounded-logits", BOUNDED, guarantee=guarantee, side_channels=CHANNELS)
    plain = papers.permit("story", "generate", name="press-in-the-clear", tenants=["press"])
    return start(papers.policy_of("story", rule, plain), Served(story, "story"))


def receipt(client: Client, server: Any) -> Receipt:
    found = client.last_receipt
    assert found is not None
    return verify_receipt(found, server.governance.guard.public_key)


def test_label_comes_without_probabilities(label_server: Server, client_of: Callable[..., Client]) -> None:
    scored = client_of(label_server).classify(TEXTS)
    assert [scores.probabilities for scores in scored] == [(), ()]
    assert {scores.label for scores in scored} <= {"bad", "fair", "good"}


def test_labels_are_as_random_as_the_policy_says(label_server: Server, client_of: Callable[..., Client]) -> None:
    many = client_of(label_server, subject="crowd").classify(["the same text"] * 40)
    assert len({scores.label for scores in many}) > 1


def test_receipt_states_guarantee_and_charge(label_server: Server, client_of: Callable[..., Client]) -> None:
    key = label_server.governance.guard.public_key  # type: ignore[attr-defined]
    client = client_of(label_server, subject="receipts", receipt_key=key)
    client.classify(TEXTS)
    first = receipt(client, label_server)
    assert first.guarantee is not None and first.guarantee.epsilon == 8.0
    assert first.charged_rho > 0 and first.protection == "output-dp" and not first.replayed
    assert first.remaining_rho is not None and first.remaining_rho > 0
    client.classify([*TEXTS, "one more"])
    assert receipt(client, label_server).charged_rho == pytest.approx(first.charged_rho * 1.5, rel=1e-6)


def test_answer_whose_receipt_another_key_signed_is_not_believed(
    label_server: Server, client_of: Callable[..., Client]
) -> None:
    with pytest.raises(AuditError):
        client_of(label_server, receipt_key=bytes(32)).classify(TEXTS)


def test_identical_retry_is_free_and_the_same(
    label_server: Server, client_of: Callable[..., Client], mood: Runtime
) -> None:
    client = client_of(label_server, subject="retry")
    texts = ["the same text"] * 20
    first, spent = client.classify(texts), receipt(client, label_server).spent_rho
    steps = mood.stats().steps
    again = client.classify(texts)
    replayed = receipt(client, label_server)
    assert again == first and mood.stats().steps == steps
    assert replayed.replayed and replayed.charged_rho == 0 and replayed.spent_rho == spent
    client.classify(texts, nonce="afresh")
    assert receipt(client, label_server).spent_rho == pytest.approx(2 * spent)
    other = client_of(label_server, subject="another")
    other.classify(texts)
    assert not receipt(other, label_server).replayed


def test_exhausted_budget_is_refused_without_compute(
    label_server: Server, client_of: Callable[..., Client], mood: Runtime
) -> None:
    client = client_of(label_server, subject="greedy")
    answered = 0
    with pytest.raises(BudgetExhaustedError):
        for number in range(1000):
            steps = mood.stats().steps
            client.classify(["text"] * 10, nonce=str(number))
            answered += 1
    assert answered >= 1 and mood.stats().steps == steps
    assert client_of(label_server, subject="modest").classify(["text"])


def test_budget_status_is_resource_exhausted(label_server: Server, client_of: Callable[..., Client]) -> None:
    from hetero.server.status import status_of

    client = client_of(label_server, subject="huge")
    with pytest.raises(BudgetExhaustedError) as caught:
        client.classify(["text"] * 2000)
    assert status_of(caught.value)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_clients_at_once_never_pass_the_cap(label_server: Any, client_of: Callable[..., Client]) -> None:
    client = client_of(label_server, subject="crowded")

    def one(number: int) -> bool:
        try:
            client.classify(["text"] * 10, nonce=f"crowd {number}")
        except BudgetExhaustedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        answered = sum(pool.map(one, range(48)))
    guard = label_server.governance.guard
    account = guard.policy.rules[0].budget.account("ward", "crowded", "mood")
    assert 1 <= answered < 48
    assert answered * 10 * RandomisedResponse(**LABELS_OF).rho <= guard.ledger.spent(account) <= account.rho_cap


def test_embedding_is_noised_and_on_the_grid(
    vector_server: Server, client_of: Callable[..., Client], vectors: Runtime
) -> None:
    told = client_of(vector_server, subject="vectors").embed(TEXTS)
    clean = vectors.embed(TEXTS)
    steps = told.astype(np.float64) * 1024
    assert np.array_equal(steps, np.rint(steps))
    assert np.linalg.norm(told, axis=1).min() > 2 * np.linalg.norm(clean, axis=1).max()


def test_completion_is_private_and_tells_nothing_else(story_server: Server, client_of: Callable[..., Client]) -> None:
    client = client_of(story_server, subject="story")
    first = client.generate("Once upon a time", max_tokens=8)
    second = client.generate("Once upon a time", max_tokens=8, nonce="2")
    assert len(first.token_ids) <= 8 and first.token_ids != second.token_ids
    assert (first.prompt_tokens, first.seed, first.plan.stages) == (0, 0, ())
    assert first.timings.ttft_seconds == first.timings.queue_seconds == 0
    assert client.generate("Once upon a time", max_tokens=8).token_ids == first.token_ids


def test_completion_is_charged_up_front_by_max_tokens(story_server: Server, client_of: Callable[..., Client]) -> None:
    client = client_of(story_server, subject="lengths")
    client.generate("Once", max_tokens=4)
    short = receipt(client, story_server).charged_rho
    client.generate("Once", max_tokens=12)
    assert receipt(client, story_server).charged_rho == pytest.approx(3 * short, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"seed": 1}, {"logprobs": 2}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.2},
     {"temperature": 0.5}, {"max_tokens": 0}],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_option_that_would_tell_more_is_refused_and_costs_nothing(
    options: dict[str, Any], story_server: Any, client_of: Callable[..., Client], story: Runtime
) -> None:
    client, steps = client_of(story_server, subject="options"), story.stats().steps
    with pytest.raises(InvalidRequestError):
        client.generate("Once", **{"max_tokens": 2} | options)
    assert story.stats().steps == steps
    client.generate("Once", max_tokens=1)
    spent = receipt(client, story_server)
    assert spent.spent_rho == spent.charged_rho or spent.replayed


def test_prompt_that_does_not_fit_costs_nothing(story_server: Server, client_of: Callable[..., Client]) -> None:
    client = client_of(story_server, subject="long")
    with pytest.raises(PromptTooLongError):
        client.generate("word " * 2000, max_tokens=4)
    client.generate("Once", max_tokens=1)
    assert receipt(client, story_server).spent_rho == receipt(client, story_server).charged_rho


def test_stop_strings_are_applied_to_what_was_drawn(story_server: Server, client_of: Callable[..., Client]) -> None:
    stopped = client_of(story_server, subject="stops").generate("Once", max_tokens=30, stop=["e", "a", " "])
    assert not set("ea ") & set(stopped.text)


def test_plain_rule_streams_as_before_without_a_plan(story_server: Server, office: Any) -> None:
    with Client(f"localhost:{story_server.port}", token=office.token("press")) as client:
        chunks = list(client.stream("Once upon a time", max_tokens=12))
        assert len(chunks) > 1
        told = client.generate("Once upon a time", max_tokens=12, seed=3, temperature=1.0, logprobs=1)
        assert told.prompt_tokens > 0 and told.seed == 3 and told.plan.stages == () and told.logprobs
        found = receipt(client, story_server)
        assert found.protection == "none" and found.charged_rho == 0 and found.remaining_rho is None


def test_broken_ledger_means_no_model_call(
    start: Callable[..., Server], papers: ModuleType, mood: Runtime, client_of: Callable[..., Client]
) -> None:
    rule = papers.private("mood", "classify", "randomised-response", LABELS)
    server: Any = start(papers.policy_of("mood", rule), Served(mood, "mood"))
    client = client_of(server)
    client.classify(["before"])
    server.governance.guard.ledger.close()
    steps = mood.stats().steps
    with pytest.raises(LedgerError):
        client.classify(["after"])
    assert mood.stats().steps == steps
