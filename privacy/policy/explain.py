"""A decision in plain words: what was decided and why, what is guaranteed to whom, what is left to spend.

Pure text from values: reads no ledger, and learns what was spent from its caller.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from privacy.types import Account, Decision, Guarantee, Owner, Protection, SideChannels

_UNITS: Mapping[str, str] = {
    "request": "one request",
    "person": "everything that is sent about one person",
    "person-day": "everything that is sent about one person within one UTC day",
    "document": "one document of the dataset",
}
_ADJACENT: Mapping[str, str] = {
    "any-two-inputs": "if it had been anything else",
    "replace-one": "if it had been another",
    "add-or-remove-one": "if it had not been there",
}
_OBSERVERS: Mapping[str, str] = {
    "server": "The server, whoever runs it and whoever breaks into it,",
    "reader-of-outputs": "Whoever reads the answers",
    "querier": "Whoever asks, alone or with all other tenants together,",
}
_SEEN: Mapping[str, str] = {"server": "what reaches it", "reader-of-outputs": "the answers", "querier": "the answers"}
_LIFETIMES: Mapping[str, str] = {
    "request": "for that request alone",
    "day": "on that day",
    "forever": "for as long as the ledger exists",
}
#: What a protection does not give: a guarantee is read as more than it is, unless this is beside it.
_NOT_GIVEN: Mapping[Protection, str] = {
    Protection.NONE: "Nothing is hidden from the server, nor from whoever reads the answers.",
    Protection.LOCAL_DP: "The model's weights and the answers themselves are not protected.",
    Protection.OUTPUT_DP: "The server and its operators see the request in the clear; the data that the model was "
    "trained on are not protected.",
    Protection.ENCRYPTED: "The server sees when, how often and how much is asked. The model's weights are protected "
    "by the cap on queries alone: beyond it they can be computed from the answers.",
}


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of an account: the share that is spent, and how many more releases of one that leaves."""

    account: Account
    spent: float
    #: What one label, vector, token or query costs.
    release_cost: float
    #: Where nothing was spent yet because there is no ledger.
    untouched: bool = False

    @property
    def left(self) -> float:
        return max(0.0, self.account.rho_cap - self.spent)

    @property
    def releases_left(self) -> int:
        # Sums of charges are exact in the ledger; the slack keeps a whole number from being missed here by rounding.
        return math.floor(self.left / self.release_cost * (1 + 1e-9)) if self.release_cost > 0 else 0


def explanation(decision: Decision, remaining: Remaining | None = None) -> str:
    """Lines for a person: the decision, why, what is guaranteed and what not, and what is left."""
    return "\n".join(_lines(decision, remaining))


def _lines(decision: Decision, remaining: Remaining | None) -> Iterator[str]:
    yield f"{'permitted' if decision.allowed else 'denied'}: {decision.reason}"
    if decision.rules:
        yield f"rules that match, the deciding one first: {', '.join(decision.rules)}"
    yield f"policy revision: {decision.policy_revision}"
    if not decision.allowed:
        return
    yield f"protection: {decision.protection.value}"
    if decision.guarantee is not None:
        yield f"guarantee: {guarantee_sentence(decision.guarantee)}"
        yield f"in numbers: {guarantee_numbers(decision.guarantee)}"
    yield f"not given: {_NOT_GIVEN[decision.protection]}"
    if decision.mechanism is not None:
        settings = ", ".join(f"{name} {value:g}" for name, value in decision.mechanism.parameters)
        yield f"mechanism: {decision.mechanism.name} ({settings})"
    if remaining is not None:
        yield f"budget: {remaining_sentence(remaining)}"
    yield f"side channels: {side_channels_sentence(decision.side_channels)}"
    yield f"may be logged of a request: {', '.join(sorted(decision.may_log)) or 'nothing'}"


def guarantee_sentence(guarantee: Guarantee) -> str:
    """What the guarantee means to a person who knows no differential privacy."""
    return (
        f"{_OBSERVERS[guarantee.observer]} learns only so much of {_UNITS[guarantee.unit]}: "
        f"{_SEEN[guarantee.observer]}, {_LIFETIMES[guarantee.lifetime]}, can be at most {_factor(guarantee.epsilon)} "
        f"times as likely as {_ADJACENT[guarantee.adjacency]}, but for a chance of {_one_in(guarantee.delta)}. Who "
        f"thought two possibilities equally likely can then be {_certainty(guarantee.epsilon)} of one."
    )


def guarantee_numbers(guarantee: Guarantee) -> str:
    """The full statement, in the words of the field."""
    return (
        f"epsilon {guarantee.epsilon:g}, delta {guarantee.delta:g}; unit {guarantee.unit}; adjacency "
        f"{guarantee.adjacency}; observer {guarantee.observer}; lifetime {guarantee.lifetime}; accountant "
        f"{guarantee.accountant}"
    )


def _factor(epsilon: float) -> str:
    """e^epsilon, which nobody can picture beyond some millions."""
    if epsilon >= 15:
        return "many million"
    return f"{math.exp(epsilon):,.3g}" if epsilon < 7 else f"{math.exp(epsilon):,.0f}"


def _certainty(epsilon: float) -> str:
    """How sure who gave two possibilities the same chance can be then: e^epsilon / (1 + e^epsilon), rounded up."""
    percent = 100 / (1 + math.exp(-epsilon))
    return f"at most {math.ceil(percent * 10) / 10:.1f} % sure" if percent <= 99.9 else "all but certain"


def _one_in(delta: float) -> str:
    return f"one in {1 / delta:,.0f}" if delta >= 1e-9 else f"{delta:g}"


def remaining_sentence(remaining: Remaining) -> str:
    """What is left of the account, in its own terms."""
    account, words = remaining.account, f"account {remaining.account.key}"
    if account.owner is Owner.WEIGHTS:
        text = f"{remaining.left:g} of {account.rho_cap:g} queries are left"
    elif account.lifetime == "request":
        text = f"each request may spend {account.rho_cap:.4g} rho, which is {remaining.releases_left} releases"
    else:
        share = 100 * remaining.left / account.rho_cap if account.rho_cap else 0.0
        text = (
            f"{remaining.left:.4g} of {account.rho_cap:.4g} rho ({share:.1f} %) are left, which is "
            f"{remaining.releases_left} releases"
        )
    until = {"day": "; refilled at midnight UTC", "forever": "; never refilled"}.get(account.lifetime, "")
    return f"{text}{until}; {words}{'; there is no ledger yet' if remaining.untouched else ''}"


def side_channels_sentence(channels: SideChannels) -> str:
    """What is done about depth, sizes and times; and that there is no cache of prefixes, whatever a rule says."""
    sizes = f"padded to {channels.pad_bytes} bytes" if channels.pad_bytes else "as they are"
    grid = channels.release_grid_seconds
    return (
        f"depth {'constant' if channels.constant_depth else 'as the input needs'}; no prefix cache; sizes {sizes}; "
        f"times {f'on a grid of {grid:g} s' if grid else 'as they come'}"
    )
