"""Encrypted models as a server offers them: descriptions, keys, caps, and work handed to confined workers.

Knows tenants by their `Principal` and no transport. Calls block; a server makes them in threads. Nothing here reads a
tenant's bytes: that is the worker's, in its own process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from privacy.errors import EncryptionError
from privacy.he.accept import largest_ciphertext_bytes, largest_context_bytes
from privacy.he.caps import QueryCaps, RateLimit
from privacy.he.description import Description
from privacy.he.headers import check_header
from privacy.he.keys import KeyBundle
from privacy.he.limits import Limits
from privacy.he.parameters import named_parameters
from privacy.he.planning import describe
from privacy.he.pool import Applied, WorkerPool, Workers
from privacy.he.spec import Kind, ModelSpec
from privacy.he.store import KeyStore
from privacy.types import Principal

_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class LedgerCap:
    """How many vectors of a tenant a policy's ledger lets pass in an epoch; 0 seconds: for ever."""

    queries: int
    epoch_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Bounds of the service. A cap of None is one query fewer than a layer has columns; 0: no cap.

    Of models in `ledger_caps` the cap is a policy's, whose ledger counts: it is told here, and not counted again.
    `folder` keeps keys and counts over restarts; None: until the end.
    """

    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    queries_per_epoch: int | None = None
    epoch_seconds: float = _DAY_SECONDS
    ledger_caps: Mapping[str, LedgerCap] = field(default_factory=dict)
    ciphertexts_per_second: float = 50.0
    uploads_per_second: float = 0.2
    burst: float = 200.0
    upload_burst: float = 5.0
    tenant_bytes: int = 256 * 2**20
    folder: Path | None = None


class Gateway:
    """Serves `specs`, whose names differ. Raises EncryptionError where one cannot be encoded. Close it.

    `workers` have the models and are closed with it; None: a pool of processes here, by the settings.
    """

    def __init__(
        self, specs: Sequence[ModelSpec], settings: GatewaySettings | None = None, workers: Workers | None = None
    ) -> None:
        self.settings = chosen = settings or GatewaySettings()
        self._models = {spec.name: self._describe(spec) for spec in specs}
        if len(self._models) != len(specs):
            raise EncryptionError("two encrypted models have the same name; rename one")
        self._store = KeyStore(chosen.folder / "keys" if chosen.folder else None, chosen.tenant_bytes)
        self._caps = QueryCaps(chosen.folder / "queries.sqlite" if chosen.folder else None)
        self._rate = RateLimit(chosen.ciphertexts_per_second, chosen.burst)
        self._uploads = RateLimit(chosen.uploads_per_second, chosen.upload_burst)
        self.pool = workers or WorkerPool(specs, chosen.limits, chosen.workers)

    @property
    def models(self) -> Mapping[str, Description]:
        return self._models

    def model(self, name: str, kind: Kind | None = None) -> Description:
        """The model of a name. Raises EncryptionError where there is none, or it is of another kind."""
        found = self._models.get(name)
        if found is None:
            raise EncryptionError("there is no encrypted model of that name; list them first")
        if kind not in (None, Kind.LAYER) and found.kind is not kind:
            raise EncryptionError(f"the model is there to {found.kind.value}; ask for that")
        return found

    def has_keys(self, principal: Principal, digest: str) -> bool:
        """Whether this tenant's keys of this digest are here."""
        return self._store.has(principal.tenant, digest)

    def admit_upload(self, principal: Principal, parameter_name: str, sizes: Sequence[int]) -> None:
        """Before the first byte: raises DeniedError for too many uploads, EncryptionError for impossible sizes."""
        parameters = named_parameters(parameter_name)
        if sum(sizes) > min(self.settings.limits.upload_bytes, self.settings.tenant_bytes):
            raise EncryptionError("the keys are larger than an upload may be; send only the rotations that are needed")
        if sizes[0] > largest_context_bytes(parameters):
            raise EncryptionError("the context is too large; serialise it without Galois keys")
        self._uploads.take(principal.tenant)

    def put_keys(self, principal: Principal, bundle: KeyBundle, digest: str) -> None:
        """Keep keys that a worker has read and accepted. Raises EncryptionError."""
        if bundle.digest != digest:
            raise EncryptionError("the keys' bytes are not those of their SHA-256; send them again")
        self.pool.accept(self._store.name(principal.tenant, digest), bundle)
        self._store.put(principal.tenant, bundle)

    def apply(self, principal: Principal, name: str, keys: str, ciphertext: bytes) -> Applied:
        """The answers to one ciphertext, which counts for as many vectors as it can carry.

        Raises BudgetExhaustedError or DeniedError before anything is computed; EncryptionError where bytes, keys or
        names are not acceptable.
        """
        model = self.model(name)
        check_header(ciphertext)
        if len(ciphertext) > largest_ciphertext_bytes(model.parameters):
            raise EncryptionError("the ciphertext is larger than one of the model's parameters can be")
        tenant = principal.tenant
        if not self._store.has(tenant, keys):
            raise EncryptionError("the server does not have these keys; send them first")
        self._rate.take(tenant)
        if name not in self.settings.ledger_caps:
            self._caps.spend(tenant, model.digest, model.vectors, model.queries_per_epoch, model.epoch_seconds)
        return self.pool.apply(
            model.digest, self._store.name(tenant, keys), lambda: self._store.get(tenant, keys), ciphertext
        )

    def queries_left(self, principal: Principal, name: str) -> int | None:
        """Vectors that the tenant may still send in this epoch; None without a cap, or where a ledger counts."""
        model = self.model(name)
        if not model.queries_per_epoch or name in self.settings.ledger_caps:
            return None
        return model.queries_per_epoch - self._caps.spent(principal.tenant, model.digest, model.epoch_seconds)

    def close(self) -> None:
        """End the workers; keys and counts stay where a folder was given."""
        self.pool.close()
        self._caps.close()
        self._store.close()

    def _describe(self, spec: ModelSpec) -> Description:
        cap, settings = self.settings.ledger_caps.get(spec.name), self.settings
        if cap is not None:
            return describe(spec, cap.queries, cap.epoch_seconds)
        queries = settings.queries_per_epoch
        return describe(spec, max(1, spec.columns - 1) if queries is None else queries, settings.epoch_seconds)
