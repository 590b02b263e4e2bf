"""Rotation of the audit log and of its key: what was spent goes on, and the segments vouch for each other."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.audit.log import AuditLog
from privacy.audit.reading import head_file_of
from privacy.audit.signing import load_public_key, load_signer, new_signer
from privacy.audit.verify import verify
from privacy.errors import AuditError, LedgerError
from privacy.ledger.ledger import Ledger
from privacy.policy.types import State
from privacy.rotation import finish_rotation, rotate
from privacy.types import Account, Charge, Event, Owner

FOREVER = Account(Owner.SUBJECT, "all/clinic/alice", 10.0, 1e-6)
DAILY = replace(FOREVER, name="daily/clinic/alice", lifetime="day")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state in which 1 rho was spent for ever and 2 today."""
    from privacy.guard_opening import open_signer

    state = State(tmp_path / "state")
    open_signer(state)
    spend(state, 1.0, FOREVER)
    spend(state, 2.0, DAILY)
    return state


def spend(state: State, rho: float, account: Account = FOREVER) -> None:
    with AuditLog(state.audit_file, load_signer(state.signing_key_file)) as log, Ledger(state.ledger_file, log) as book:
        book.store(book.reserve(account, Charge(rho, Event("query", ())), bytes(32), "d"), b"")


def spent(state: State) -> tuple[float, float]:
    finish_rotation(state)
    with AuditLog(state.audit_file, load_signer(state.signing_key_file)) as log, Ledger(state.ledger_file, log) as book:
        return book.spent(FOREVER), book.spent(DAILY)


def keys(state: State) -> list[bytes]:
    return [load_public_key(path) for path in sorted(state.directory.glob("signing.pub*"))]


@pytest.mark.parametrize("new_key", [False, True])
def test_what_was_spent_goes_on_over_rotations(state: State, new_key: bool) -> None:
    for segment in (2, 3):
        assert rotate(state, new_key=new_key).segment == segment
        spend(state, 1.0)
        assert spent(state) == (segment, 2.0)
    assert len(set(keys(state))) == (3 if new_key else 1)
    for key in keys(state):
        verdict = verify(state.audit_file, key)
        assert verdict.ok, verdict.problem
        assert verdict.segments == 3
    assert state.signing_key_file.stat().st_mode & 0o077 == 0


def test_ledger_that_is_lost_after_a_rotation_is_made_anew(state: State) -> None:
    rotate(state, new_key=True)
    for path in state.directory.glob("ledger.sqlite3*"):
        path.unlink()
    assert spent(state) == (1.0, 2.0)


def test_ledger_that_is_restored_over_a_rotation_refills_nothing(state: State) -> None:
    kept = state.ledger_file.read_bytes()
    spend(state, 3.0)
    rotate(state, new_key=False)
    state.ledger_file.write_bytes(kept)
    with pytest.raises(LedgerError, match="restore the newest copy"):
        spent(state)
    state.ledger_file.unlink()
    assert spent(state) == (4.0, 2.0)


def test_head_that_was_known_before_a_rotation_is_found(state: State) -> None:
    known = verify(state.audit_file, load_public_key(state.public_key_file)).head_digest
    rotate(state, new_key=True)
    key = load_public_key(state.public_key_file)
    assert verify(state.audit_file, key, known).ok
    assert "known before" in verify(state.audit_file, key, "0" * 64).problem


def test_key_that_never_signed_vouches_for_nothing(state: State) -> None:
    rotate(state, new_key=True)
    assert "never signed" in verify(state.audit_file, new_signer().public_key).problem


def _cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"nanorho":1000000000', b'"nanorho":1000000001', 1))


def _another(path: Path) -> None:
    """A whole log of another state, signed by the key that signed this one."""
    other = State(path.parent / "other")
    other.directory.mkdir()
    shutil.copy(path.parent / "signing.key.old", other.signing_key_file)
    spend(other, 1.0)
    shutil.copy(other.audit_file, path)


@pytest.mark.parametrize("change", [_cut, _edit, _another, Path.unlink])
def test_change_of_an_older_segment_is_found(state: State, change: Callable[[Path], None]) -> None:
    shutil.copy(state.signing_key_file, state.directory / "signing.key.old")
    kept = rotate(state, new_key=True).kept_file
    assert verify(state.audit_file, load_public_key(state.public_key_file)).ok
    change(kept)
    try:
        assert not verify(state.audit_file, load_public_key(state.public_key_file)).ok
    except AuditError as error:
        assert kept.name in str(error)


def test_segment_that_carries_too_little_is_found(state: State) -> None:
    """Whoever holds the key can write it, and the older segment still tells."""
    from privacy import rotation

    carried = rotation.carried_records
    rotation.carried_records = lambda spent: carried(dict.fromkeys(spent, 1))
    try:
        rotate(state, new_key=True)
    finally:
        rotation.carried_records = carried
    assert "does not carry" in verify(state.audit_file, load_public_key(state.public_key_file)).problem


def test_log_in_use_is_not_rotated(state: State) -> None:
    log = AuditLog(state.audit_file, load_signer(state.signing_key_file))
    with closing(log), pytest.raises(AuditError, match="another process"):
        rotate(state, new_key=True)


def test_nothing_is_rotated_where_nothing_was_begun(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="hetero privacy init"):
        rotate(State(tmp_path), new_key=False)


_DIE_AT = """
import os, sys
from pathlib import Path
from privacy.policy.types import State
from privacy.rotation import rotate
left = int(sys.argv[2])
def counting(original):
    def called(*arguments, **names):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return original(*arguments, **names)
    return called
os.replace, os.rename, os.link, os.open, os.unlink = map(counting, (os.replace, os.rename, os.link, os.open, os.unlink))
rotate(State(Path(sys.argv[1])), new_key=True)
"""


def test_rotation_that_dies_at_any_step_loses_nothing(state: State, tmp_path: Path) -> None:
    """Killed before every change of a file's name: the next start finds one whole log, and all that was spent."""
    for step in range(40):
        copy = State(tmp_path / f"step-{step}")
        shutil.copytree(state.directory, copy.directory)
        command = [sys.executable, "-c", _DIE_AT, str(copy.directory), str(step)]
        code = subprocess.run(command, cwd=ROOT, capture_output=True).returncode
        assert spent(copy) == (1.0, 2.0), step
        spend(copy, 1.0)
        verdict = verify(copy.audit_file, load_public_key(copy.public_key_file))
        assert verdict.ok, (step, verdict.problem)
        assert not list(copy.directory.glob("*.next"))
        assert head_file_of(copy.audit_file).exists()
        if code == 0:
            assert verdict.segments == 2
            return
        assert code == 9
    raise AssertionError("the rotation has more steps than were tried")
