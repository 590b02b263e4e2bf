"""A policy in force: its guard, and what verifies the credentials that it names. Opened before anything is started.

Knows the order in which these open; neither gRPC nor Ray. Whatever cannot be believed is refused here: a server whose
policy, keys, ledger or audit log is in doubt never listens.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hetero.confinement import Confinement
from hetero.errors import ConfigurationError
from privacy.guard import Guard
from privacy.guard_opening import open_guard
from privacy.identity.checks import identifier_of
from privacy.identity.identifier import Identifier
from privacy.policy.loading import load_policy
from privacy.policy.types import Effect, Policy, Rule
from privacy.types import Method, Protection

#: Requests that may wait for the ledger's disk at once, and so share one sync; a thread that waits costs little else.
GUARD_THREADS = 64

_OF_TEXTS = (Method.GENERATE, Method.EMBED, Method.CLASSIFY)


@dataclass(frozen=True, slots=True)
class Governance:
    """What a governed server stands on; one a state folder, whoever opened the guard closes it."""

    policy: Policy
    guard: Guard
    identifier: Identifier
    #: The guard's own: an event loop's usual ones are as few as the cores, and taken by tokenizing.
    threads: ThreadPoolExecutor

    def confinement(self, model: str) -> Confinement:
        """What the policy demands of where the model of that name runs."""
        return Confinement(self.policy.may_see, self._may_exit(model))

    def _may_exit(self, model: str) -> bool:
        return any(
            rule.effect is Effect.PERMIT
            and not rule.side_channels.constant_depth
            and any(rule.covers(tenant, model, Method.CLASSIFY) for tenant in self.policy.tenants)
            for rule in self.policy.rules
        )

    def require_model(self, name: str, has_documents: bool = False) -> None:
        """Raise ConfigurationError where the policy does not know the model, or wants documents that are not there."""
        if name not in self.policy.models:
            known = ", ".join(sorted(self.policy.models))
            raise ConfigurationError(f"the policy knows no model {name!r}; it knows {known}: name it by --served-name")
        rules = document_rules(self.policy, name)
        if rules and not has_documents:
            raise ConfigurationError(
                f"rule {rules[0].name!r} asks for text by private-documents, and the server has no documents: "
                "give their folder by --documents, or take the rule out"
            )
        if has_documents and not rules:
            raise ConfigurationError(f"--documents are of no use: no rule for {name!r} asks for private-documents")

    def sees_texts(self, model: str) -> bool:
        """Whether some rule lets a text in the clear reach the engine: if none does, it need not run at all.

        What is answered from documents is written beside the engine.
        """
        clear = {Protection.NONE, Protection.OUTPUT_DP}
        return any(
            rule.effect is Effect.PERMIT
            and rule.protection in clear
            and not _from_documents(rule)
            and any(rule.covers(tenant, model, method) for tenant in self.policy.tenants for method in _OF_TEXTS)
            for rule in self.policy.rules
        )


def document_rules(policy: Policy, model: str | None = None) -> tuple[Rule, ...]:
    """Rules, of one model or of any, that ask for text about private documents, which the server is to hold."""
    return tuple(
        rule
        for rule in policy.rules
        if _from_documents(rule) and (model is None or rule.models is None or model in rule.models)
    )


def _from_documents(rule: Rule) -> bool:
    return rule.mechanism is not None and rule.mechanism.name == "private-documents"


@contextmanager
def open_governance(file: Path) -> Iterator[Governance]:
    """The policy of a file, in force until the block ends.

    Raises PolicyError, LedgerError or AuditError where something of it cannot be believed, or another server has it.
    """
    policy = load_policy(file)
    identifier = identifier_of(policy.identity)
    with closing(open_guard(policy)) as guard, ThreadPoolExecutor(GUARD_THREADS, "guard") as threads:
        yield Governance(policy, guard, identifier, threads)
