"""`hetero privacy`: a policy checked and explained, its schema, keys, and what the server signed verified."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hetero.cli.main import run
from privacy.audit.log import AuditLog
from privacy.audit.receipts import Receipt, sign_receipt
from privacy.audit.signing import load_signer
from privacy.identity.keys import hash_of, read_holders
from privacy.ledger.ledger import Ledger
from privacy.policy.loading import load_policy
from privacy.types import Account, Charge, Event, Owner

ROOT = Path(__file__).parents[3]
LETTERS = ROOT / "tests" / "data" / "policies" / "letters.yaml"
EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.yaml"))
Answer = Callable[..., Any]


@pytest.fixture
def answer(capfd: pytest.CaptureFixture[str]) -> Answer:
    """Run `hetero privacy ... --json` with an expected exit code: its document."""

    def command(*arguments: object, code: int = 0) -> Any:
        assert run(["privacy", *map(str, arguments), "--json"]) == code
        return json.loads(capfd.readouterr().out)

    return command


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """The letters' policy with its state beside it."""
    file = tmp_path / "policy.yaml"
    file.write_text(LETTERS.read_text().replace("/var/lib/hetero/letters", "state"))
    return file


def charge_once(policy_file: Path, account: Account, rho: float) -> Path:
    """Make keys and charge an account as a server does; the audit log."""
    assert run(["privacy", "keys", "create", str(policy_file)]) == 0
    state = load_policy(policy_file).state
    with (
        AuditLog(state.audit_file, load_signer(state.signing_key_file)) as audit,
        Ledger(state.ledger_file, audit) as ledger,
    ):
        ledger.reserve(account, Charge(rho, Event("gaussian", ())), b"k", "d")
    return state.audit_file


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_check_accepts_the_examples(answer: Answer, path: Path) -> None:
    document = answer("check", path)
    assert document["valid"] and document["complaints"] == []
    assert document["revision"] == load_policy(path).revision


def test_check_shows_rules_and_warnings_to_a_person(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["privacy", "check", str(LETTERS)]) == 0
    captured = capfd.readouterr()
    assert "questions-about-letters" in captured.out and "letters can be used; revision " in captured.out
    assert "warning: rule 'mood-of-a-letter': the unit is a person's day" in captured.err
    assert "jwks.json' is not there" in captured.err


def test_check_tells_everything_that_is_wrong_by_line(policy_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (
        policy_file.read_text().replace("      observer: querier\n", "").replace("accountant: zcdp", "accountant: rdp")
    )
    policy_file.write_text(text)
    assert run(["privacy", "check", str(policy_file)]) == 2
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 4 and lines[-1] == "policy.yaml is refused: 3 complaints"
    assert all(line.startswith("policy.yaml, line ") for line in lines[:3])


def test_check_tells_programs_the_same(answer: Answer, policy_file: Path) -> None:
    policy_file.write_text(policy_file.read_text().replace("accountant: zcdp", "accountant: rdp"))
    document = answer("check", policy_file, code=2)
    assert not document["valid"] and len(document["complaints"]) == 2 and document["revision"] is None


def test_explain_gives_the_decision_of_every_method(answer: Answer) -> None:
    documents = answer("explain", LETTERS, "--tenant", "editors", "--model", "sentiment")
    assert {each["method"] for each in documents if each["allowed"]} == {"classify"}
    assert len(documents) == 7


def test_explain_gives_guarantee_and_remaining_budget(
    answer: Answer, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("explain", policy_file, "--tenant", "editors", "--model", "sentiment", "--method", "classify")
    (fresh,) = answer(*arguments)
    assert fresh["guarantee"]["epsilon"] == 4.0 and "54.6 times" in fresh["in_plain_words"]
    assert (fresh["budget"]["spent"], fresh["budget"]["releases_left"]) == (0.0, 2)
    account = Account(Owner.SUBJECT, "mood/editors/editors", fresh["budget"]["cap"], 1e-6, "day")
    charge_once(policy_file, account, 0.2)
    capfd.readouterr()
    (spent,) = answer(*arguments)
    assert (spent["budget"]["spent"], spent["budget"]["releases_left"]) == (0.2, 0)


def test_explain_shows_a_denial_with_its_rule(capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["--tenant", "editors", "--model", "sentiment", "--method", "embed"]
    assert run(["privacy", "explain", str(LETTERS), *asked]) == 0
    out = capfd.readouterr().out
    assert out.startswith("editors: embed with sentiment\n  denied: rule 'no-embeddings' forbids it")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--method", "guess"), "--method 'guess' is not known; it is one of: generate, embed"),
        (("--arrives", "wrapped"), "--arrives 'wrapped' is not known"),
    ],
)
def test_explain_refuses_what_there_is_not(refused: Callable[..., str], flags: tuple[str, str], said: str) -> None:
    asked = ("--tenant", "editors", "--model", "sentiment")
    assert said in refused("privacy", "explain", str(LETTERS), *asked, *flags)


def test_schema_is_json_with_every_key(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["privacy", "schema"]) == 0
    assert set(json.loads(capfd.readouterr().out)["required"]) >= {"version", "tenants", "identity", "rules"}


@pytest.fixture
def kept_log(policy_file: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """An audit log with one charge, and its keys beside it."""
    file = charge_once(policy_file, Account(Owner.DATASET, "letters", 1.0, 1e-6), 0.25)
    capfd.readouterr()
    return file


def test_audit_log_that_is_whole_is_verified(answer: Answer, kept_log: Path) -> None:
    verdict = answer("audit", "verify", kept_log)
    assert verdict["ok"] and verdict["spent_rho"] == {"dataset:letters forever": 0.25}


def test_audit_log_that_was_edited_is_found(kept_log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept_log.write_bytes(kept_log.read_bytes().replace(b"dataset:letters", b"dataset:lettres"))
    assert run(["privacy", "audit", "verify", str(kept_log)]) == 1
    assert "the log does not hold: Line" in capfd.readouterr().out


def test_audit_log_without_its_key_is_an_error(refused: Callable[..., str], kept_log: Path) -> None:
    assert "public key" in refused("privacy", "audit", "verify", str(kept_log), "--public-key", "/nowhere.pub")


@pytest.fixture
def kept_receipt(policy_file: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """A receipt as it comes in a call's trailers, with the server's public key beside it."""
    assert run(["privacy", "keys", "create", str(policy_file)]) == 0
    capfd.readouterr()
    policy = load_policy(policy_file)
    numbers = dict.fromkeys(("charged_rho", "charged_epsilon", "spent_rho", "spent_epsilon", "remaining_rho"), 0.5)
    texts = dict.fromkeys(("decision_id", "policy_revision", "mechanism", "answer_sha256", "audit_digest"), "x")
    content = {**numbers, **texts, "protection": "output-dp", "guarantee": policy.rules[1].guarantee, "delta": 1e-6}
    times = {"issued_at_seconds": 0, "audit_seq": 1, "replayed": False}
    receipt: Receipt = sign_receipt({**content, **times}, load_signer(policy.state.signing_key_file))
    file = policy.state.directory / "receipt"
    file.write_bytes(receipt.to_bytes())
    return file


@pytest.mark.parametrize("encoded", [bytes, base64.b64encode, base64.encodebytes])
def test_receipt_is_verified_and_told(
    answer: Answer, kept_receipt: Path, encoded: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    kept_receipt.write_bytes(encoded(kept_receipt.read_bytes()))
    assert answer("receipt", "verify", kept_receipt)["guarantee"]["epsilon"] == 4.0
    assert run(["privacy", "receipt", "verify", str(kept_receipt)]) == 0
    assert "guarantee: Whoever reads the answers learns only so much" in capfd.readouterr().out


def test_receipt_that_was_edited_is_refused(kept_receipt: Path, refused: Callable[..., str]) -> None:
    kept_receipt.write_bytes(kept_receipt.read_bytes().replace(b'"epsilon":4.0', b'"epsilon":1.0'))
    assert "signature does not hold" in refused("privacy", "receipt", "verify", str(kept_receipt))


def test_signing_key_is_made_once_and_shown_in_public(
    policy_file: Path, refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["privacy", "keys", "create", str(policy_file)]) == 0
    capfd.readouterr()
    assert load_policy(policy_file).state.signing_key_file.stat().st_mode & 0o077 == 0
    assert "cannot be written" in refused("privacy", "keys", "create", str(policy_file))
    assert run(["privacy", "keys", "show", str(policy_file)]) == 0
    assert capfd.readouterr().out == load_policy(policy_file).state.public_key_file.read_text()


def test_api_key_is_shown_once_and_kept_as_a_hash(answer: Answer, policy_file: Path) -> None:
    made = answer("keys", "issue", policy_file, "--tenant", "editors", "--subject", "anna")
    file = load_policy(policy_file).identity.api_keys_file
    assert file is not None and made["api_key"] not in file.read_text()
    holder = read_holders(file)[hash_of(made["api_key"])]
    assert (holder.tenant, holder.subject) == ("editors", "anna")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tenant", "nobody"), "the policy has no tenant 'nobody'"),
        (("--tenant", "editors", "--subject", "two words"), "a subject must be one word"),
    ],
)
def test_api_key_for_nobody_is_refused(
    refused: Callable[..., str], policy_file: Path, flags: tuple[str, ...], said: str
) -> None:
    assert said in refused("privacy", "keys", "issue", str(policy_file), *flags)


def test_state_is_begun_once(answer: Answer, policy_file: Path, refused: Callable[..., str]) -> None:
    state = load_policy(policy_file).state
    assert answer("init", policy_file)["state"] == str(state.directory)
    assert answer("audit", "verify", state.audit_file)["ok"]
    assert "never begun anew" in refused("privacy", "init", str(policy_file))


def test_log_and_key_are_rotated(answer: Answer, policy_file: Path) -> None:
    state = load_policy(policy_file).state
    answer("init", policy_file)
    first = state.public_key_file.read_bytes()
    assert answer("audit", "rotate", policy_file)["segment"] == 2
    assert state.public_key_file.read_bytes() == first
    document = answer("keys", "rotate", policy_file)
    assert document["segment"] == 3 and state.public_key_file.read_bytes() != first
    assert Path(document["kept_public_key"]).read_bytes() == first
    for flags in ((), ("--public-key", document["kept_public_key"])):
        verdict = answer("audit", "verify", state.audit_file, *flags)
        assert verdict["ok"] and verdict["segments"] == 3
