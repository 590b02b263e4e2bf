"""What a ledger and its audit log make of crashes, restored copies, deletions, full disks and second processes."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.audit.log import AuditLog
from privacy.audit.signing import new_signer
from privacy.audit.verify import verify
from privacy.errors import AuditError, BudgetExhaustedError, LedgerError, PrivacyError
from privacy.ledger.ledger import Ledger
from privacy.types import Account, Charge, Event, Owner

ROOT = Path(__file__).parents[3]
SIGNER = new_signer()
ACCOUNT = Account(Owner.SUBJECT, "notes/clinic/alice", 1.0, 1e-6)
CHARGE = Charge(0.1, Event("discrete-gaussian", (("noise_multiplier", 2.236),)))
LOG, HEAD, LEDGER = "audit.jsonl", "audit.jsonl.head", "ledger.sqlite3"


def spend(folder: Path, times: int) -> float:
    """Open, charge so often, close; returns what is then spent."""
    with AuditLog(folder / LOG, SIGNER) as audit, Ledger(folder / LEDGER, audit) as ledger:
        for _ in range(times):
            ledger.store(ledger.reserve(ACCOUNT, CHARGE, os.urandom(8), "d"), b"answer")
        return ledger.spent(ACCOUNT)


def copies(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def put_back(folder: Path, kept: dict[str, bytes]) -> None:
    for name, content in kept.items():
        (folder / name).write_bytes(content)


def remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def test_restored_old_ledger_refills_nothing(tmp_path: Path) -> None:
    spend(tmp_path, 2)
    old = copies(tmp_path, LEDGER + "*")
    spend(tmp_path, 8)
    remove(tmp_path, LEDGER + "*")
    put_back(tmp_path, old)
    assert spend(tmp_path, 0) == 1.0
    with pytest.raises(BudgetExhaustedError):
        spend(tmp_path, 1)
    assert '"raised_accounts":1' in (tmp_path / LOG).read_text()


def test_ledger_that_lost_its_newest_commits_refills_nothing(tmp_path: Path) -> None:
    kill_after(tmp_path, 5)
    remove(tmp_path, LEDGER + "-wal", LEDGER + "-shm")
    assert spend(tmp_path, 0) >= 0.5


def test_deleted_ledger_is_made_anew_from_the_log(tmp_path: Path) -> None:
    spend(tmp_path, 7)
    remove(tmp_path, LEDGER + "*")
    assert spend(tmp_path, 0) == 0.7
    assert spend(tmp_path, 3) == 1.0
    assert verify(tmp_path / LOG, SIGNER.public_key).ok


def test_lifetime_is_remembered_without_the_ledger(tmp_path: Path) -> None:
    spend(tmp_path, 7)
    remove(tmp_path, LEDGER + "*")
    daily = Account(ACCOUNT.owner, ACCOUNT.name, 1.0, 1e-6, "day")
    with (
        AuditLog(tmp_path / LOG, SIGNER) as audit,
        Ledger(tmp_path / LEDGER, audit) as ledger,
        pytest.raises(LedgerError, match="lifetime"),
    ):
        ledger.reserve(daily, CHARGE, b"k", "d")


def test_damaged_ledger_is_refused_and_can_be_made_anew(tmp_path: Path) -> None:
    spend(tmp_path, 7)
    (tmp_path / LEDGER).write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerError, match="move the file away"):
        spend(tmp_path, 0)
    remove(tmp_path, LEDGER + "*")
    assert spend(tmp_path, 0) == 0.7


@pytest.mark.parametrize("removed", [(LOG,), (LOG, HEAD)])
def test_deleted_log_is_refused(tmp_path: Path, removed: tuple[str, ...]) -> None:
    spend(tmp_path, 1)
    remove(tmp_path, *removed)
    for _ in range(2):
        with pytest.raises(PrivacyError, match="restore"):
            spend(tmp_path, 0)


def test_deleted_head_is_refused_and_can_be_put_back(tmp_path: Path) -> None:
    spend(tmp_path, 1)
    remove(tmp_path, HEAD)
    with pytest.raises(AuditError, match="tail -n 1"):
        spend(tmp_path, 0)
    (tmp_path / HEAD).write_bytes((tmp_path / LOG).read_bytes().splitlines(keepends=True)[-1])
    assert spend(tmp_path, 1) == 0.2


def test_restored_old_log_is_refused(tmp_path: Path) -> None:
    spend(tmp_path, 1)
    old = copies(tmp_path, LOG + "*")
    spend(tmp_path, 1)
    newer_head = copies(tmp_path, HEAD)
    put_back(tmp_path, old)
    with pytest.raises(LedgerError, match="cut back"):
        spend(tmp_path, 0)
    put_back(tmp_path, old | newer_head)
    with pytest.raises(AuditError, match="cut back"):
        spend(tmp_path, 0)


def test_log_of_another_ledger_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    spend(one, 5)
    spend(other, 1)
    put_back(one, copies(other, LOG + "*"))
    with pytest.raises(LedgerError, match="another audit log"):
        spend(one, 0)


def test_log_of_another_key_is_refused(tmp_path: Path) -> None:
    spend(tmp_path, 1)
    with pytest.raises(AuditError, match="another key"):
        AuditLog(tmp_path / LOG, new_signer())


@pytest.mark.parametrize("line", range(10))
def test_changed_line_is_refused(tmp_path: Path, line: int) -> None:
    spend(tmp_path, 2)
    lines = (tmp_path / LOG).read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"seq":', b'"seq":9', 1)
    (tmp_path / LOG).write_bytes(b"".join(lines))
    with pytest.raises(AuditError, match="changed"):
        spend(tmp_path, 0)


@pytest.mark.parametrize("kept_bytes", [0, 1, 60, -1])
def test_unfinished_write_is_cut_off_and_told(tmp_path: Path, kept_bytes: int) -> None:
    """What a crash within a write leaves: some first bytes of lines that nobody was told of."""
    spend(tmp_path, 3)
    before = copies(tmp_path)
    spend(tmp_path, 1)
    written = (tmp_path / LOG).read_bytes()[len(before[LOG]) :]
    remove(tmp_path, LEDGER + "*")
    put_back(tmp_path, before)
    (tmp_path / LOG).write_bytes(before[LOG] + written.splitlines(keepends=True)[0][:kept_bytes])
    assert spend(tmp_path, 0) == 0.3
    assert verify(tmp_path / LOG, SIGNER.public_key).ok


def test_write_that_reached_the_log_alone_counts(tmp_path: Path) -> None:
    """What a crash between the log's append and the ledger's commit leaves."""
    spend(tmp_path, 3)
    before = copies(tmp_path, "ledger*")
    spend(tmp_path, 1)
    remove(tmp_path, LEDGER + "*")
    put_back(tmp_path, before)
    assert spend(tmp_path, 0) == 0.4


@pytest.mark.parametrize("kept_bytes", [0, 10, 200])
def test_log_that_was_just_begun_is_begun_again(tmp_path: Path, kept_bytes: int) -> None:
    AuditLog(tmp_path / LOG, SIGNER).close()
    content = (tmp_path / LOG).read_bytes()
    remove(tmp_path, HEAD)
    (tmp_path / LOG).write_bytes(content[:kept_bytes])
    assert spend(tmp_path, 1) == 0.1


CHILD = """
import os, sys
from pathlib import Path
from privacy.audit.log import AuditLog
from privacy.ledger.ledger import Ledger
from privacy.audit.signing import load_signer
from privacy.types import Account, Charge, Event, Owner
folder = Path(sys.argv[1])
ledger = Ledger(folder / "ledger.sqlite3", AuditLog(folder / "audit.jsonl", load_signer(folder / "key")))
account = Account(Owner.SUBJECT, "notes/clinic/alice", 1.0, 1e-6)
charge = Charge(0.1, Event("discrete-gaussian", (("noise_multiplier", 2.236),)))
"""


def in_child(folder: Path, script: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    key = folder / "key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(SIGNER.private_pem)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-c", CHILD + script, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=False)


def kill_after(folder: Path, charges: int) -> None:
    """A process that charges so often and dies by SIGKILL."""
    folder.mkdir(exist_ok=True)
    script = f"""
for number in range({charges}):
    ledger.store(ledger.reserve(account, charge, b"%d" % number, "d"), b"answer")
os.kill(os.getpid(), 9)
"""
    assert in_child(folder, script).returncode == -signal.SIGKILL


def test_killed_process_has_spent_what_it_released(tmp_path: Path) -> None:
    kill_after(tmp_path, 4)
    assert spend(tmp_path, 0) == 0.4


def test_second_process_is_refused(tmp_path: Path) -> None:
    with AuditLog(tmp_path / LOG, SIGNER) as audit, Ledger(tmp_path / LEDGER, audit):
        found = in_child(tmp_path, "")
        assert "held by another process" in found.stderr
    assert in_child(tmp_path, "").returncode == 0


def test_second_ledger_on_another_log_is_refused(tmp_path: Path) -> None:
    with (
        AuditLog(tmp_path / LOG, SIGNER) as audit,
        Ledger(tmp_path / LEDGER, audit),
        AuditLog(tmp_path / "other", SIGNER) as other,
        pytest.raises(LedgerError, match="held by another process"),
    ):
        Ledger(tmp_path / LEDGER, other)


def test_forked_child_must_not_charge(tmp_path: Path) -> None:
    script = """
child = os.fork()
if child == 0:
    try:
        ledger.reserve(account, charge, b"k", "d")
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
ledger.reserve(account, charge, b"k", "d")
print("spent", ledger.spent(account))
"""
    found = in_child(tmp_path, script)
    assert "LedgerError" in found.stdout and "forked" in found.stdout and "spent 0.1" in found.stdout


FILL = """
import json
from privacy.errors import LedgerError
released, refused = 0, []
while len(refused) < 3:
    try:
        small = Charge(1e-4, charge.event)
        for _ in range(notes):
            ledger.note("note", {"text": "x" * 200})
        reservation = ledger.reserve(account, small, os.urandom(8), "d")
        ledger.store(reservation, bytes(answer_bytes))
        released += 1
    except LedgerError as error:
        refused.append(str(error))
print(json.dumps([released, refused]))
"""


@pytest.mark.parametrize(("first", "notes", "answer_bytes"), [("log", 100, 10), ("ledger", 0, 30_000)])
def test_full_disk_refuses_everything_and_loses_nothing(
    tmp_path: Path, first: str, notes: int, answer_bytes: int
) -> None:
    """The kernel refuses to let a file grow beyond 1 MB: the log's by many notes, or SQLite's by large answers."""
    spend(tmp_path, 0)
    found = in_child(tmp_path, f"notes, answer_bytes = {notes}, {answer_bytes}" + FILL, 1_000_000)
    assert found.returncode == 0, found.stderr
    released, refused = json.loads(found.stdout)
    assert released > 3
    assert len(set(refused)) == 1, "the first failure is for good"
    assert ("The audit log" in refused[0]) == (first == "log") and "start again" in refused[0]
    spent = spend(tmp_path, 0)
    assert released * 1e-4 <= spent * (1 + 1e-9) and spent <= (released + 1) * 1e-4 * (1 + 1e-9)
    assert verify(tmp_path / LOG, SIGNER.public_key).ok


def test_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path / "file" / LOG, SIGNER)


def test_kill_at_any_point_recovers_at_least_what_was_released() -> None:
    """A small part of what `python tests/privacy/ledger/ledger_kills.py` does with 5 x 200 kills."""
    command = [sys.executable, str(Path(__file__).with_name("ledger_kills.py")), "--points", "20"]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    tally = json.loads(found.stdout)
    assert found.returncode == 0 and tally["kills"] == 100, found.stderr
    assert tally["short"] == tally["missing"] == tally["unverified"] == 0
    assert tally["released"] > 20
    assert 0 <= tally["forfeited"] <= tally["forfeit_bound"]
