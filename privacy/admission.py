"""What an admitted request carries through its life, what it is charged, and what must be true of what came with it.

Pure functions of decisions and asks; spends and stores nothing.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from privacy.errors import DeniedError, EncryptionError, MechanismError, PolicyError
from privacy.ledger.work import Reservation
from privacy.types import Ask, Charge, Decision, Event, MechanismSpec, Method, Owner, Protection

#: Says what so many releases of a mechanism cost.
Pricing = Callable[[MechanismSpec, int], Charge]

_NOISY = frozenset({Protection.LOCAL_DP, Protection.OUTPUT_DP})
_ENCRYPTED_METHODS = frozenset({Method.CLASSIFY_ENCRYPTED, Method.SEARCH_ENCRYPTED, Method.APPLY_ENCRYPTED})


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may be computed. `replayed` is the answer of an identical one, which is to be sent instead."""

    ask: Ask
    decision: Decision
    reservation: Reservation | None = None
    replayed: bytes | None = None
    #: Ends once the decision is in the audit log.
    recorded: "Future[None] | None" = field(default=None, repr=False, compare=False)


def price_by_mechanism(spec: MechanismSpec, count: int) -> Charge:
    """What the mechanism itself says. Raises MechanismError for one that is not known."""
    from privacy.mechanisms import mechanism_for

    return mechanism_for(spec).charge(count)


def charge_for(ask: Ask, decision: Decision, price: Pricing) -> Charge | None:
    """What the request costs by its size alone; None where the policy charges nothing.

    Raises PolicyError where a decision promises differential privacy and does not say by what or from which budget.
    """
    if decision.account is not None and decision.account.owner is Owner.WEIGHTS:
        return Charge(float(ask.count), Event("query", (), ask.count))
    if decision.protection in _NOISY:
        if decision.mechanism is None or decision.account is None or decision.guarantee is None:
            raise PolicyError(
                f"The rule {decision.rules[:1]} asks for {decision.protection.value} without a mechanism, a budget or "
                "a guarantee: complete it"
            )
        return price(decision.mechanism, ask.count)
    if decision.mechanism is not None or decision.account is not None:
        raise PolicyError(f"The rule {decision.rules[:1]} has a mechanism or a budget that nothing is charged for")
    return None


def check_arrived_as(admission: Admission) -> None:
    """Raise unless the payload came in the wrapping that the decision asks for, by a method that carries it."""
    ask, wanted = admission.ask, admission.decision.protection
    if not admission.decision.allowed:
        raise DeniedError("A request that was denied cannot be opened")
    if wanted is Protection.LOCAL_DP and not (
        ask.arrives is Protection.LOCAL_DP and ask.method is Method.CLASSIFY_VECTORS
    ):
        raise MechanismError(f"The policy asks for vectors that the client noised, and {ask.method.value} came without")
    if wanted is Protection.ENCRYPTED and not (
        ask.arrives is Protection.ENCRYPTED and ask.method in _ENCRYPTED_METHODS
    ):
        raise EncryptionError(f"The policy asks for ciphertexts, and {ask.method.value} came without")


def decision_fields(ask: Ask, decision: Decision, models: frozenset[str]) -> dict[str, str | int | float]:
    """A decision as the audit log tells it: names and sizes, nothing of the content.

    A model that the policy does not know is left out: what a payload claims as a name may be anything.
    """
    return {
        "allowed": int(decision.allowed),
        "count": ask.count if type(ask.count) is int else -1,
        "credential": ask.principal.credential,
        "decision": decision.decision_id,
        "method": ask.method.value,
        "model": ask.model if ask.model in models else "",
        "policy": decision.policy_revision,
        "protection": decision.protection.value,
        "rule": decision.rules[0] if decision.rules else "",
        "tenant": ask.principal.tenant,
    }
