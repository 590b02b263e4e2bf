"""The audit log: whatever is edited, dropped, moved, added or cut off is found, and nothing but names goes into it."""

import os
import random
import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.audit.log import AuditLog
from privacy.audit.records import HEAD, Record, digest_of, parse_line, signed_head
from privacy.audit.secret_files import write_secret
from privacy.audit.signing import create_signer, load_public_key, load_signer, new_signer
from privacy.audit.verify import Verdict, verify
from privacy.errors import AuditError

SIGNER = new_signer()


class Made:
    """A log that was written once; the tests change copies of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        with AuditLog(self.path, SIGNER) as log:
            self.older_head = log.head
            self.older_head_file = self._head_path().read_bytes()
            log.append_many([("reserve", {"account": "a", "window": "forever", "nanorho": n}) for n in (1, 2)])
        self.content = self.path.read_bytes()
        self.lines = self.content.splitlines(keepends=True)
        self.head_file = self._head_path().read_bytes()

    def _head_path(self) -> Path:
        return self.path.with_name("audit.jsonl.head")

    def judge(self, content: bytes, head_file: bytes | None = None, known_digest: str = "") -> Verdict:
        self.path.write_bytes(content)
        if self._head_path().read_bytes() != (wanted := head_file or self.head_file):
            self._head_path().write_bytes(wanted)
        return verify(self.path, SIGNER.public_key, known_digest)

    def is_found(self, lines: Iterable[bytes]) -> bool:
        verdict = self.judge(b"".join(lines))
        return not verdict.ok and bool(verdict.problem)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("audit"))


def test_untouched_log_verifies(made: Made) -> None:
    verdict = made.judge(made.content)
    assert verdict.ok and verdict.problem == ""
    assert verdict.records == len(made.lines) == 5
    assert verdict.spent_rho == {"a forever": 3e-9}


def test_every_changed_byte_is_found(made: Made) -> None:
    chance = random.Random(1)
    for place in range(len(made.content)):
        changed = bytearray(made.content)
        changed[place] ^= chance.randrange(1, 256)
        assert not made.judge(bytes(changed)).ok, place


def test_every_truncation_is_found(made: Made) -> None:
    for length in range(len(made.content)):
        assert not made.judge(made.content[:length]).ok, length


def test_every_changed_byte_of_the_head_file_is_found(made: Made) -> None:
    # Only the spaces behind the head's line carry nothing.
    for place in range(len(made.lines[-1])):
        changed = bytearray(made.head_file)
        changed[place] ^= 1
        assert not made.judge(made.content, bytes(changed)).ok, place


def test_every_dropped_line_is_found(made: Made) -> None:
    for count in range(1, len(made.lines) + 1):
        for dropped in combinations(range(len(made.lines)), count):
            assert made.is_found(line for index, line in enumerate(made.lines) if index not in dropped)


def test_every_swapped_or_moved_line_is_found(made: Made) -> None:
    for one, other in combinations(range(len(made.lines)), 2):
        swapped = list(made.lines)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        moved = list(made.lines)
        moved.insert(other, moved.pop(one))
        assert made.is_found(swapped) and made.is_found(moved)


def test_every_repeated_line_is_found(made: Made) -> None:
    for line in made.lines:
        for place in range(len(made.lines) + 1):
            assert made.is_found([*made.lines[:place], line, *made.lines[place:]])


@settings(max_examples=300, deadline=None)
@given(start=st.integers(0, 1400), length=st.integers(0, 300), inserted=st.binary(max_size=40))
def test_any_replaced_span_is_found(made: Made, start: int, length: int, inserted: bytes) -> None:
    changed = made.content[:start] + inserted + made.content[start + length :]
    assert made.judge(changed).ok == (changed == made.content)


def test_log_that_is_cut_back_with_its_head_is_found_by_a_head_that_was_kept(made: Made) -> None:
    """Restoring log and head together leaves a log that was once true: a receipt's head or the ledger's tells."""
    cut = b"".join(made.lines[: made.older_head.seq + 1])
    newest = digest_of(made.lines[-1])
    assert made.judge(cut, made.older_head_file).ok
    assert not made.judge(cut, made.older_head_file, newest).ok
    assert made.judge(made.content, known_digest=newest).ok
    assert made.judge(made.content, known_digest=made.older_head.digest).ok


@pytest.mark.parametrize(("names_itself", "said"), [(False, "not signed by the key"), (True, "never signed")])
def test_log_that_was_chained_anew_by_another_key_is_found(made: Made, names_itself: bool, said: str) -> None:
    """Who can write the file but not sign makes every digest right, and fails at the first head."""
    forger, previous, forged = new_signer(), "0" * 64, []
    for line in made.lines:
        record = parse_line(line)
        assert record is not None
        if record.kind == HEAD:
            record = signed_head(record.seq, record.at_seconds, previous, forger)
        else:
            named = {"public_key": forger.public_key.hex()} if names_itself else {}
            record = replace(record, previous=previous, fields=dict(record.fields) | {"nanorho": 0} | named)
        forged.append(record.to_line())
        previous = digest_of(forged[-1])
    assert said in made.judge(b"".join(forged), forged[-1]).problem
    assert verify(made.path, forger.public_key).ok == names_itself


def test_head_of_an_earlier_line_signs_no_later_one(made: Made) -> None:
    head = parse_line(made.lines[1])
    assert head is not None
    moved = Record(len(made.lines), head.at_seconds, HEAD, head.fields, digest_of(made.lines[-1]))
    assert made.is_found([*made.lines, moved.to_line()])


@pytest.mark.parametrize("tail", [b"{", b"\0" * 100, b'{"seq":5}\n'])
def test_tail_without_a_head_is_no_whole_log(made: Made, tail: bytes) -> None:
    assert made.is_found([*made.lines, tail])


def test_missing_log_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be read"):
        verify(tmp_path / "none", SIGNER.public_key)


@pytest.mark.parametrize("value", [b"bytes", None, float("nan"), float("inf"), ["prompt"], {"a": 1}, True])
def test_field_that_is_no_name_or_number_is_refused(tmp_path: Path, value: object) -> None:
    with AuditLog(tmp_path / "log", SIGNER) as log:
        with pytest.raises(AuditError, match="neither a text nor a finite number"):
            log.append("decision", {"field": value})  # type: ignore[dict-item]
        log.append("decision", {"field": "good"})
    assert verify(tmp_path / "log", SIGNER.public_key).ok


def test_long_text_is_cut(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "log", SIGNER) as log:
        log.append("decision", {"model": "x" * 10_000})
    assert len((tmp_path / "log").read_bytes()) < 2500


@pytest.mark.parametrize("text", ["é\u2028\x00\n", "\ud800", '"}{"'])
def test_any_text_stays_one_line(tmp_path: Path, text: str) -> None:
    with AuditLog(tmp_path / "log", SIGNER) as log:
        log.append("decision", {"model": text})
    assert verify(tmp_path / "log", SIGNER.public_key).ok


def test_threads_share_one_chain(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "log", SIGNER) as log:
        threads = [threading.Thread(target=lambda: [log.append("n", {}) for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    verdict = verify(tmp_path / "log", SIGNER.public_key)
    assert verdict.ok and verdict.records == 2 + 160 * 2


def test_time_in_the_log_never_goes_back(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "log", SIGNER, lambda: 2000.0) as log:
        log.append("n", {})
    with AuditLog(tmp_path / "log", SIGNER, lambda: 1000.0) as log:
        log.append("n", {})
        assert log.at_seconds == 2000
    assert verify(tmp_path / "log", SIGNER.public_key).ok


def test_closed_log_takes_no_more(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log", SIGNER)
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append("n", {})


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    create_signer(tmp_path / "state" / "key", tmp_path / "state" / "pub")
    AuditLog(tmp_path / "state" / "log", SIGNER).close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {(tmp_path / "state" / name).stat().st_mode & 0o777 for name in ("key", "log", "log.head")} == {0o600}


def test_stored_key_signs_as_before(tmp_path: Path) -> None:
    signer = create_signer(tmp_path / "key", tmp_path / "pub")
    again = load_signer(tmp_path / "key")
    assert again.public_key == signer.public_key == load_public_key(tmp_path / "pub")
    assert again.sign(b"data") == signer.sign(b"data")


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    create_signer(tmp_path / "key", tmp_path / "pub")
    os.chmod(tmp_path / "key", 0o640)
    with pytest.raises(AuditError, match="Others"):
        load_signer(tmp_path / "key")


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    create_signer(tmp_path / "key", tmp_path / "pub")
    with pytest.raises(AuditError, match="cannot be written"):
        create_signer(tmp_path / "key", tmp_path / "pub")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n", b"\0" * 32])
def test_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    write_secret(tmp_path / "key", content, AuditError)
    with pytest.raises(AuditError, match="PEM"):
        load_signer(tmp_path / "key")
    with pytest.raises(AuditError, match="PEM"):
        load_public_key(tmp_path / "key")
