"""Decisions in plain words, and what is left of a budget as the ledger tells it."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.audit.log import AuditLog
from privacy.audit.signing import new_signer
from privacy.errors import BudgetExhaustedError, LedgerError
from privacy.ledger.ledger import Ledger
from privacy.ledger.spent import remaining_of, spent_rho
from privacy.mechanisms import mechanism_for
from privacy.policy.decide import decide
from privacy.policy.explain import Remaining, explanation, guarantee_sentence, remaining_sentence
from privacy.policy.loading import load_policy
from privacy.types import Account, Ask, Charge, Decision, Event, Guarantee, Method, Owner, Principal, Protection

ROOT = Path(__file__).parents[3]
LETTERS = ROOT / "tests" / "data" / "policies" / "letters.yaml"
SEALED = ROOT / "examples" / "policies" / "encrypted.yaml"
FULL = Guarantee("person", "any-two-inputs", "server", "forever", 2.0, 1e-6, "zcdp")


def decided(path: Path, tenant: str, model: str, method: Method, arrives: Protection = Protection.NONE) -> Decision:
    return decide(load_policy(path), Ask(Principal(tenant, "jwt"), model, method, arrives), "d")


def test_guarantee_is_told_without_a_technical_word() -> None:
    assert guarantee_sentence(FULL) == (
        "The server, whoever runs it and whoever breaks into it, learns only so much of everything that is sent about "
        "one person: what reaches it, for as long as the ledger exists, can be at most 7.39 times as likely as if it "
        "had been anything else, but for a chance of one in 1,000,000. Who thought two possibilities equally likely "
        "can then be at most 88.1 % sure of one."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"observer": "reader-of-outputs"}, "Whoever reads the answers learns only so much"),
        ({"observer": "querier"}, "alone or with all other tenants together"),
        ({"unit": "person-day", "lifetime": "day"}, "within one UTC day: what reaches it, on that day"),
        ({"unit": "request", "lifetime": "request"}, "of one request: what reaches it, for that request alone"),
        ({"unit": "document", "adjacency": "replace-one"}, "as if it had been another"),
        ({"adjacency": "add-or-remove-one"}, "as if it had not been there"),
        ({"epsilon": 0.1}, "at most 1.11 times as likely"),
        ({"epsilon": 0.1}, "at most 52.5 % sure"),
        ({"epsilon": 8.0}, "at most 2,981 times"),
        ({"epsilon": 8.0}, "then be all but certain of one"),
        ({"epsilon": 100.0}, "many million times"),
        ({"delta": 1e-12}, "but for a chance of 1e-12"),
    ],
)
def test_each_field_of_a_guarantee_shows(change: dict[str, object], said: str) -> None:
    assert said in guarantee_sentence(replace(FULL, **change))  # type: ignore[arg-type]


def test_permit_says_rule_guarantee_limits_budget_and_channels() -> None:
    decision = decided(LETTERS, "editors", "sentiment", Method.CLASSIFY)
    remaining = remaining_of(decision, Path("/nowhere/ledger.sqlite3"))
    lines = dict(line.split(": ", 1) for line in explanation(decision, remaining).splitlines())
    assert lines["permitted"].startswith("rule 'mood-of-a-letter' permits it: readers of the statistics")
    assert lines["protection"] == "output-dp"
    assert lines["in numbers"].startswith("epsilon 4, delta 1e-06; unit person-day; adjacency any-two-inputs;")
    assert "see the request in the clear" in lines["not given"]
    assert lines["mechanism"] == "randomised-response (epsilon 0.5, labels 2)"
    assert lines["budget"].startswith(
        "0.3111 of 0.3111 rho (100.0 %) are left, which is 2 releases; refilled at midnight"
    )
    assert lines["budget"].endswith("there is no ledger yet")
    assert lines["side channels"] == (
        "depth constant; no prefix cache; sizes padded to 256 bytes; times on a grid of 0.1 s"
    )
    assert lines["may be logged of a request"] == "decision, method, tenant"


def test_denial_says_why_and_promises_nothing() -> None:
    text = explanation(decided(LETTERS, "editors", "sentiment", Method.EMBED))
    assert text.startswith("denied: rule 'no-embeddings' forbids it: a vector gives its text away\n")
    assert "guarantee" not in text and "budget" not in text


def test_encryption_says_what_it_does_not_protect() -> None:
    decision = decided(SEALED, "notary", "minilm", Method.SEARCH_ENCRYPTED, Protection.ENCRYPTED)
    text = explanation(decision, remaining_of(decision, Path("/nowhere/ledger")))
    assert "weights are protected by the cap on queries alone" in text
    assert "190 of 190 queries are left; never refilled; account weights:notary/minilm" in text


def test_request_of_its_own_budget_says_how_much_it_may_spend() -> None:
    account = Account(Owner.SUBJECT, "b/t/s", 1.0, 1e-6, "request")
    assert remaining_sentence(Remaining(account, 0.0, 0.25)) == (
        "each request may spend 1 rho, which is 4 releases; account subject:b/t/s"
    )


@pytest.mark.parametrize(("spent", "cost", "left"), [(0.0, 0.1, 10), (0.1, 0.1, 9), (0.95, 0.1, 0), (2.0, 0.1, 0)])
def test_releases_left_are_whole_ones(spent: float, cost: float, left: int) -> None:
    assert Remaining(Account(Owner.DATASET, "d", 1.0, 1e-6), spent, cost).releases_left == left


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with AuditLog(tmp_path / "audit.jsonl", new_signer()) as audit, Ledger(tmp_path / "ledger.sqlite3", audit) as made:
        yield made


def test_remaining_budget_is_the_ledgers_while_it_is_in_use(ledger: Ledger) -> None:
    decision = decided(LETTERS, "editors", "sentiment", Method.CLASSIFY)
    assert decision.account is not None and decision.mechanism is not None
    before = remaining_of(decision, ledger.path)
    assert before is not None and (before.spent, before.releases_left) == (0.0, 2)
    charge = mechanism_for(decision.mechanism).charge(1)
    ledger.reserve(decision.account, charge, b"k", "d")
    after = remaining_of(decision, ledger.path)
    assert after is not None and after.spent == pytest.approx(charge.rho, rel=1e-6)
    assert after.releases_left == 1
    assert not after.untouched


def test_releases_that_are_left_are_those_that_the_ledger_grants(ledger: Ledger) -> None:
    decision = decided(LETTERS, "editors", "sentiment", Method.CLASSIFY)
    assert decision.account is not None and decision.mechanism is not None
    left = remaining_of(decision, ledger.path)
    charge = mechanism_for(decision.mechanism).charge(1)
    for number in range(left.releases_left if left else 0):
        ledger.reserve(decision.account, charge, bytes([number]), "d")
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(decision.account, charge, b"one more", "d")


def test_budget_of_another_day_does_not_count(ledger: Ledger) -> None:
    account = Account(Owner.SUBJECT, "b/t/s", 1.0, 1e-6, "day")
    reservation = ledger.reserve(account, Charge(0.5, Event("gaussian", ())), b"k", "d")
    assert spent_rho(account, ledger.path, _noon(reservation.window)) == 0.5
    assert spent_rho(account, ledger.path, _noon(reservation.window) + 86400) == 0.0


def _noon(window: str) -> float:
    from datetime import UTC, datetime

    return datetime.strptime(window, "day:%Y-%m-%d").replace(tzinfo=UTC, hour=12).timestamp()


def test_file_that_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    file.write_bytes(b"not a ledger" * 100)
    with pytest.raises(LedgerError, match="cannot be read"):
        spent_rho(Account(Owner.DATASET, "d", 1.0, 1e-6), file, 0.0)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    sqlite3.connect(file).close()
    with pytest.raises(LedgerError):
        spent_rho(Account(Owner.DATASET, "d", 1.0, 1e-6), file, 0.0)
    assert file.stat().st_size == 0
