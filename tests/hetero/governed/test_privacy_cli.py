"""`hetero serve --policy`: what is wrong is said in one line, before a model is loaded or a port is open."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hetero.cli.main import run

Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run `hetero serve` with these arguments; the one line of its refusal, after the policy's warnings."""

    def command(*arguments: object) -> str:
        assert run(["serve", *map(str, arguments), "--grpc-port", "0"]) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        lines = captured.err.strip().splitlines()
        assert [line for line in lines[:-1] if not line.startswith("policy tests:")] == [], captured.err
        return lines[-1]

    return command


@pytest.fixture
def policy_file(papers: ModuleType, office: Any, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        policy = papers.policy_of("tiny", papers.permit("tiny", "generate"), **changes)
        return Path(office.write_policy(tmp_path, policy))

    return write


def test_policy_that_is_absent_or_wrong_is_refused(
    refused: Refused, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert "cannot be read" in refused("tiny", "--policy", tmp_path / "absent.yaml")
    assert "surprise" in refused("tiny", "--policy", policy_file(surprise=1))


def test_model_that_the_policy_does_not_know_is_refused(refused: Refused, policy_file: Callable[..., Path]) -> None:
    assert "--served-name" in refused("tiny", "--policy", policy_file(), "--served-name", "other")


def test_rule_for_documents_without_documents_is_refused(
    refused: Refused, papers: ModuleType, office: Any, tmp_path: Path
) -> None:
    rule = papers.private(
        "tiny",
        "generate",
        "private-documents",
        {"clip": 1.0, "temperature": 2.0, "documents": 8.0},
        budget={"owner": "dataset", "name": "letters"},
        guarantee=papers.GUARANTEE | {"unit": "document", "adjacency": "replace-one", "observer": "querier"},
    )
    file = office.write_policy(tmp_path, papers.policy_of("tiny", rule))
    assert "--documents" in refused("tiny", "--policy", file)
    assert "holds no documents" in refused("tiny", "--policy", file, "--documents", tmp_path)


def test_documents_that_no_rule_lets_be_asked_about_are_refused(
    refused: Refused, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert "of no use" in refused("tiny", "--policy", policy_file(), "--documents", tmp_path)
    assert "needs a --policy" in refused("tiny", "--documents", tmp_path)


def test_listening_in_the_clear_is_refused(refused: Refused, policy_file: Callable[..., Path]) -> None:
    assert "without TLS" in refused("tiny", "--policy", policy_file(), "--grpc-host", "0.0.0.0")


def test_budgets_that_were_never_begun_are_refused(
    refused: Refused, papers: ModuleType, office: Any, tmp_path: Path
) -> None:
    rule = papers.private("tiny", "generate", "bounded-logits", {"clip": 1.0, "temperature": 4.0})
    file = office.write_policy(tmp_path, papers.policy_of("tiny", rule), begin=False)
    assert "hetero privacy init" in refused("tiny", "--policy", file)


def test_state_that_another_server_holds_is_refused(
    refused: Refused, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    from hetero.governance import open_governance

    file = policy_file()
    with open_governance(file):
        assert "another process" in refused("tiny", "--policy", file)


def test_audit_log_that_was_cut_is_refused(refused: Refused, policy_file: Callable[..., Path], tmp_path: Path) -> None:
    from hetero.governance import open_governance

    file = policy_file()
    with open_governance(file):
        pass
    log = tmp_path / "state" / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))
    assert "log" in refused("tiny", "--policy", file)


def test_key_file_that_anyone_may_write_is_refused(
    refused: Refused, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = policy_file(identity={"api_keys_file": "keys"})
    (tmp_path / "keys").write_text("")
    (tmp_path / "keys").chmod(0o666)
    assert "anyone may write" in refused("tiny", "--policy", file)


def test_head_of_another_model_is_refused(refused: Refused, policy_file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "does not hold a head" in refused("tiny", "--policy", policy_file(), "--head", tmp_path / "empty")


def test_policy_of_the_walk_through_is_one(tmp_path: Path) -> None:
    from privacy.policy.loading import examine

    text = (Path(__file__).parents[3] / "examples" / "private_serving.md").read_text(encoding="utf-8")
    written = text.split("```yaml\n")[1].split("```")[0]
    found = examine(written.encode(), tmp_path)
    assert found.complaints == () and found.policy is not None
