"""Which layers of a served model a policy wants on ciphertexts: those that a rule under `encrypted` names as models.

A name is that of a head (`--head`), of a file of encrypted models (`--encrypted`), or of a linear layer in the model's
own checkpoint, as ``pooler.dense``. Knows policies and folders; neither devices nor keys.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hetero.encrypted_models import head_of_folder, layer_of_checkpoint, linear_layers, read_encrypted
from hetero.errors import ConfigurationError
from privacy.he.gateway import LedgerCap
from privacy.he.spec import ModelSpec
from privacy.policy.types import Effect, Policy, Rule
from privacy.types import Protection

_EPOCH_SECONDS = {"day": 86400.0, "forever": 0.0}


def encrypted_names(policy: Policy) -> frozenset[str]:
    """The models that some tenant may ask with ciphertexts."""
    return frozenset(name for rule in _rules(policy) for name in _named(rule, policy))


def marked_layers(
    policy: Policy, folder: Path, heads: Sequence[Path] = (), files: Sequence[Path] = ()
) -> tuple[ModelSpec, ...]:
    """The marked layers that are there, by name: heads, then files, then layers of the checkpoint in `folder`.

    A marked name that is none of these is another server's. Raises ConfigurationError for a file that no rule marks,
    and ModelError or EncryptionError where a layer cannot run encrypted.
    """
    names = encrypted_names(policy)
    found = {head.name: head_of_folder(head) for head in heads if head.name in names}
    for file in files:
        spec = read_encrypted(file)
        if spec.name not in names:
            raise ConfigurationError(
                f"no rule of the policy {policy.name} asks for encryption of {spec.name!r}; name it among the models of"
                " a rule with `protection: encrypted`"
            )
        found[spec.name] = spec
    for name in sorted(linear_layers(folder, names - set(found))):
        found[name] = layer_of_checkpoint(folder, name)
    return tuple(found.values())


def ledger_caps(policy: Policy, names: Sequence[str]) -> dict[str, LedgerCap]:
    """How many vectors the policy's ledger lets a tenant send to each; the most, where tenants differ."""
    caps: dict[str, LedgerCap] = {}
    for rule in _rules(policy):
        for name in set(names) & _named(rule, policy) if rule.budget else ():
            cap = LedgerCap(int(rule.budget.rho_cap), _EPOCH_SECONDS[rule.budget.lifetime])  # type: ignore[union-attr]
            caps[name] = max(caps.get(name, cap), cap, key=lambda each: each.queries)
    return caps


def _rules(policy: Policy) -> Iterator[Rule]:
    for rule in policy.rules:
        if rule.effect is Effect.PERMIT and rule.protection is Protection.ENCRYPTED:
            yield rule


def _named(rule: Rule, policy: Policy) -> frozenset[str]:
    return policy.models if rule.models is None else rule.models
