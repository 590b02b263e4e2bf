"""The gateway: caps, rates, keys by tenant, and models by name and kind."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from privacy.errors import BudgetExhaustedError, DeniedError, EncryptionError, LedgerError
from privacy.he.caps import QueryCaps, RateLimit
from privacy.he.client import Sealer
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.spec import Kind, linear_spec
from privacy.he.store import KeyStore
from privacy.types import Principal

ALICE, BOB = Principal("alice", "jwt"), Principal("bob", "jwt")
WEIGHT = np.random.default_rng(0).normal(size=(2, 64))
SPEC = linear_spec("head", WEIGHT, kind=Kind.CLASSIFY, labels=["no", "yes"])


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    made = Gateway([SPEC], GatewaySettings(queries_per_epoch=0, uploads_per_second=0))
    yield made
    made.close()


@pytest.fixture(scope="module")
def sealer(gateway: Gateway, keys_of: Callable[[str], SecretKeys]) -> Sealer:
    return Sealer(gateway.model("head"), keys_of("ckks-8192-1"))


@pytest.fixture(scope="module")
def bundle(gateway: Gateway, sealer: Sealer) -> KeyBundle:
    made = sealer.bundle()
    gateway.put_keys(ALICE, made, made.digest)
    return made


def fake_bundle(size: int, mark: bytes = b"k") -> KeyBundle:
    return KeyBundle("ckks-8192-1", b"context", mark * size)


def test_a_tenant_uses_its_own_keys_alone(gateway: Gateway, sealer: Sealer, bundle: KeyBundle) -> None:
    vectors = np.random.default_rng(1).normal(size=(gateway.model("head").vectors, 64))
    (sealed,) = sealer.seal(vectors)
    answers = gateway.apply(ALICE, "head", bundle.digest, sealed).answers
    np.testing.assert_allclose(sealer.open([answers], len(vectors)), vectors @ WEIGHT.T, atol=1e-4)
    assert gateway.has_keys(ALICE, bundle.digest) and not gateway.has_keys(BOB, bundle.digest)
    with pytest.raises(EncryptionError, match="does not have these keys"):
        gateway.apply(BOB, "head", bundle.digest, sealed)


def test_keys_of_another_digest_are_refused(gateway: Gateway, bundle: KeyBundle) -> None:
    with pytest.raises(EncryptionError, match="not those of their SHA-256"):
        gateway.put_keys(BOB, bundle, "0" * 64)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "/" * 64])
def test_names_that_are_no_digest_reach_no_file(digest: str, gateway: Gateway) -> None:
    with pytest.raises(EncryptionError, match="SHA-256"):
        gateway.has_keys(ALICE, digest)


def test_uploads_are_bounded_before_they_begin(gateway: Gateway) -> None:
    for sizes in ((0, 1 << 40, 0), (1 << 24, 0, 0)):
        with pytest.raises(EncryptionError, match=r"larger than|too large"):
            gateway.admit_upload(ALICE, "ckks-8192-1", sizes)
    with pytest.raises(EncryptionError, match="no parameter set"):
        gateway.admit_upload(ALICE, "ckks-4096-1", (10, 10, 0))


def test_models_are_found_by_name_and_kind(gateway: Gateway) -> None:
    assert gateway.model("head", Kind.CLASSIFY).labels == ("no", "yes")
    with pytest.raises(EncryptionError, match="ask for that"):
        gateway.model("head", Kind.SEARCH)
    with pytest.raises(EncryptionError, match="of that name"):
        gateway.model("tail")
    with pytest.raises(EncryptionError, match="the same name"):
        Gateway([SPEC, SPEC])


def test_the_cap_is_one_below_the_columns_and_counts_room(keys_of: Callable[[str], SecretKeys]) -> None:
    gateway = Gateway([SPEC])
    try:
        model = gateway.model("head")
        sealer = Sealer(model, keys_of("ckks-8192-1"))
        keys = sealer.bundle()
        gateway.put_keys(ALICE, keys, keys.digest)
        assert model.queries_per_epoch == 63 and "would recover" in model.statement
        # One vector or many: a ciphertext counts what it could hold.
        (sealed,) = sealer.seal(np.ones((1, 64)) / 64)
        for _ in range(63 // model.vectors):
            gateway.apply(ALICE, "head", keys.digest, sealed)
        assert gateway.queries_left(ALICE, "head") == 63 % model.vectors
        with pytest.raises(BudgetExhaustedError, match="cap of 63"):
            gateway.apply(ALICE, "head", keys.digest, sealed)
        assert gateway.queries_left(BOB, "head") == 63
    finally:
        gateway.close()


def test_counts_outlive_a_restart_and_end_with_the_epoch(tmp_path: Path) -> None:
    clock = Clock()
    caps = QueryCaps(tmp_path / "counts", clock)
    assert caps.spend("alice", "d", 7, 10, 100.0) == 3
    caps.close()
    again = QueryCaps(tmp_path / "counts", clock)
    with pytest.raises(BudgetExhaustedError):
        again.spend("alice", "d", 4, 10, 100.0)
    assert again.spend("bob", "d", 10, 10, 100.0) == 0
    assert again.spend("alice", "other", 10, 10, 100.0) == 0
    clock.now += 100.0
    assert again.spend("alice", "d", 10, 10, 100.0) == 0
    again.close()


def test_threads_never_pass_the_cap_together() -> None:
    caps, passed = QueryCaps(), []

    def spend() -> None:
        for _ in range(20):
            try:
                caps.spend("alice", "d", 3, 100, 1e9)
                passed.append(3)
            except BudgetExhaustedError:
                return

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 99 == caps.spent("alice", "d", 1e9)


def test_counts_that_cannot_be_written_stop_everything(tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        QueryCaps(tmp_path)
    caps = QueryCaps()
    caps.close()
    with pytest.raises(LedgerError, match="nothing is computed"):
        caps.spend("alice", "d", 1, 10, 100.0)


def test_a_rate_holds_for_each_tenant_and_refills() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3.0, clock)
    for _ in range(3):
        limit.take("alice")
    with pytest.raises(DeniedError, match="slow down"):
        limit.take("alice")
    limit.take("bob")
    clock.now += 0.5
    limit.take("alice")
    with pytest.raises(DeniedError):
        limit.take("alice")


def test_stored_keys_are_bounded_and_come_back_whole(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys", tenant_bytes=2500, most_tenants=2)
    bundles = [fake_bundle(1000, bytes([mark])) for mark in b"abc"]
    for bundle in bundles[:2]:
        store.put("alice", bundle)
    assert store.get("alice", bundles[0].digest) == bundles[0]
    assert store.has("alice", bundles[0].digest)
    store.put("alice", bundles[2])
    assert [store.has("alice", bundle.digest) for bundle in bundles] == [True, False, True]
    store.put("bob", bundles[0])
    with pytest.raises(EncryptionError, match="as many tenants"):
        store.put("carol", bundles[0])
    with pytest.raises(EncryptionError, match="may keep"):
        store.put("alice", fake_bundle(4000))
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0


def test_stored_keys_that_were_changed_are_not_used(tmp_path: Path) -> None:
    store, bundle = KeyStore(tmp_path), fake_bundle(100)
    store.put("alice", bundle)
    path = tmp_path / store.name("alice", bundle.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(EncryptionError, match="changed"):
        store.get("alice", bundle.digest)
    path.write_bytes(b"\xff\xff\xff\xffnonsense")
    with pytest.raises(EncryptionError, match="send them again"):
        store.get("alice", bundle.digest)
