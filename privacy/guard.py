"""The guard: every request passes `admit`, `open` and `release`, or nothing is computed and nothing leaves.

    admission = guard.admit(ask, payload)              # decided, charged durably; or raised
    guard.open(admission, what_came)                   # what came is what the decision asked for
    if admission.replayed is None: answer = compute()  # else the stored bytes are the answer
    receipt = guard.release(admission, answer)         # stored durably; now the answer may leave

Whoever cannot release calls `abandon`; `with guard.admitted(...)` does that by itself. Whatever goes wrong inside
becomes a refusal. Knows no content beyond the bytes that it hashes and stores.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

from privacy.admission import (
    Admission,
    Pricing,
    charge_for,
    check_arrived_as,
    decision_fields,
    price_by_mechanism,
)
from privacy.audit.log import AuditLog
from privacy.audit.receipting import receipt_for
from privacy.audit.receipts import Receipt
from privacy.audit.signing import Signer
from privacy.errors import DeniedError, PrivacyError
from privacy.ledger.ledger import Ledger
from privacy.ledger.replays import ReplaySecret
from privacy.policy.decide import decide
from privacy.policy.types import Policy
from privacy.types import Ask, Decision, Protection

_TO_BE_CHECKED = frozenset({Protection.LOCAL_DP, Protection.ENCRYPTED})
_DECISION_ID_BYTES = 16


class Guard:
    """Decides, charges, stores and signs. Safe to use from several threads.

    `admit` waits for the disk (some tenths of a millisecond to some milliseconds): call it from a thread, not from an
    event loop.
    """

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        audit: AuditLog,
        signer: Signer,
        secret: ReplaySecret,
        price: Pricing = price_by_mechanism,
    ) -> None:
        self.policy, self.ledger, self.audit = policy, ledger, audit
        self._signer, self._secret, self._price = signer, secret, price
        #: Decisions whose payload was opened and that are not ended yet.
        self._opened: set[str] = set()

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes that receipts and the audit log are verified with."""
        return self._signer.public_key

    def admit(self, ask: Ask, payload: bytes) -> Admission:
        """Decide on the request and charge it, durably.

        `payload` is everything that the answer depends on, in a form that an identical retry has too; it is hashed and
        not kept. Raises DeniedError, BudgetExhaustedError, or another PrivacyError: then nothing may be computed.
        """
        with _refusing():
            self.ledger.check_usable()
            decision = decide(self.policy, ask, secrets.token_hex(_DECISION_ID_BYTES))
            recorded = self.ledger.note("decision", decision_fields(ask, decision, self.policy.models))
            if not decision.allowed:
                raise DeniedError(decision.reason)
            with self._telling_refusals(decision):
                return self._charged(Admission(ask, decision, recorded=recorded), payload)

    @contextlib.contextmanager
    def _telling_refusals(self, decision: Decision) -> Iterator[None]:
        """What the policy permits and the guard refuses all the same is in the audit log too."""
        try:
            yield
        except Exception as error:
            with contextlib.suppress(PrivacyError):
                self.ledger.note("refused", {"decision": decision.decision_id, "error": type(error).__name__})
            raise

    def _charged(self, admission: Admission, payload: bytes) -> Admission:
        ask, decision = admission.ask, admission.decision
        charge = charge_for(ask, decision, self._price)
        if charge is None or decision.account is None:
            return admission
        key = self._secret.key(ask, decision, payload)
        replayed = self.ledger.replay(key)
        if replayed is not None:
            return replace(admission, replayed=replayed)
        reservation = self.ledger.reserve(decision.account, charge, key, decision.decision_id)
        return replace(admission, reservation=reservation)

    def open(self, admission: Admission, check: Callable[[], None] | None = None) -> None:
        """Refuse what did not come as the decision asks; `check` looks at the payload itself and raises.

        Under local DP that is `privacy.local.check_arrived`, under encryption the reading of ciphertexts. Raises
        MechanismError or EncryptionError; the charge stays.
        """
        with _refusing():
            check_arrived_as(admission)
            if admission.decision.protection in _TO_BE_CHECKED and check is None:
                raise DeniedError("What came noised or encrypted must be checked before it is used")
            if check is not None:
                check()
            self._opened.add(admission.decision.decision_id)

    def release(self, admission: Admission, answer: bytes) -> Receipt:
        """Store the answer's bytes durably and sign their receipt: only then they may leave.

        Raises LedgerError or AuditError where they cannot be stored or recorded, and DeniedError for a request that was
        not opened, or was ended before.
        """
        with _refusing():
            self._check_releasable(admission, answer)
            if admission.reservation is not None:
                self.ledger.store(admission.reservation, answer)
            if admission.recorded is not None:
                admission.recorded.result()
            return receipt_for(admission, answer, self.ledger, self.audit, self._signer)

    def _check_releasable(self, admission: Admission, answer: bytes) -> None:
        if admission.replayed is not None:
            if admission.replayed != answer:
                raise DeniedError("An identical request gets the bytes that were stored for it, and no others")
            return
        try:
            self._opened.remove(admission.decision.decision_id)
        except KeyError:
            raise DeniedError("An answer may leave once, and only after its request was opened") from None

    def abandon(self, admission: Admission) -> None:
        """End a request that will have no answer. What was charged stays charged. Never raises a PrivacyError."""
        self._opened.discard(admission.decision.decision_id)
        with contextlib.suppress(PrivacyError):
            if admission.reservation is not None:
                self.ledger.abandon(admission.reservation)

    @contextlib.contextmanager
    def admitted(self, ask: Ask, payload: bytes) -> Iterator[Admission]:
        """An admission that is abandoned at the end unless it was released."""
        admission = self.admit(ask, payload)
        try:
            yield admission
        finally:
            self.abandon(admission)

    def close(self) -> None:
        """Give back leases, end the log. Closing twice does nothing."""
        self.ledger.close()
        self.audit.close()


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Errors of ours pass; any other becomes a refusal that tells its type alone, as its text may hold content."""
    try:
        yield
    except PrivacyError:
        raise
    except Exception as error:
        raise DeniedError(f"The request is refused, for the guard failed on it ({type(error).__name__})") from None
