"""The decision: default deny, forbid wins, in whatever order rules stand; and what a permit imposes."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import pytest

from privacy.policy.decide import decide
from privacy.policy.loading import load_policy
from privacy.policy.protections import METHODS
from privacy.policy.types import Effect, Identity, Policy, Rule, State
from privacy.types import Ask, Decision, Method, Principal, Protection

ROOT = Path(__file__).parents[3]
LETTERS = ROOT / "tests" / "data" / "policies" / "letters.yaml"
POLICIES = [LETTERS, *sorted((ROOT / "examples" / "policies").glob("*.yaml"))]
TENANTS, MODELS = ("a", "b"), ("m", "n")
EVERY_WAY = frozenset(Protection)


def rule(name: str, effect: Effect = Effect.PERMIT, **scopes: object) -> Rule:
    scopes = {"tenants": None, "models": None, "methods": None, "arrives": EVERY_WAY} | scopes
    return Rule(name, effect, **scopes)  # type: ignore[arg-type]


def policy_of(*rules: Rule) -> Policy:
    state = State(Path("/nowhere"))
    return Policy("p", "r" * 64, frozenset(TENANTS), frozenset(MODELS), rules, Identity(), (), state)


def ask_for(
    tenant: str = "a",
    model: str = "m",
    method: Method = Method.CLASSIFY,
    arrives: Protection = Protection.NONE,
    subject: str | None = None,
) -> Ask:
    return Ask(Principal(tenant, "jwt", subject), model, method, arrives)


def every_ask() -> Iterator[Ask]:
    for tenant, model, method, arrives in product((*TENANTS, "x"), (*MODELS, "y"), Method, Protection):
        yield ask_for(tenant, model, method, arrives)


def test_policy_without_a_permit_denies_everything() -> None:
    policy = policy_of(rule("never", Effect.FORBID, tenants=frozenset({"b"})))
    assert not any(decide(policy, ask, "d").allowed for ask in every_ask())


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (ask_for(tenant="x"), "the policy knows no tenant 'x'"),
        (ask_for(model="y"), "the policy knows no model 'y'"),
        (ask_for(tenant=""), "the policy knows no tenant ''"),
        (ask_for(tenant="A"), "the policy knows no tenant 'A'"),
        (replace(ask_for(), count=0), "a whole number of tokens or vectors"),
        (replace(ask_for(), count=True), "a whole number of tokens or vectors"),
        (replace(ask_for(), count=float("nan")), "a whole number of tokens or vectors"),
        (ask_for(tenant="b"), "no rule permits 'b' to classify with 'm'"),
    ],
)
def test_what_the_policy_does_not_know_is_denied(ask: Ask, reason: str) -> None:
    decision = decide(policy_of(rule("all", tenants=frozenset({"a"}))), ask, "d")
    assert not decision.allowed
    assert reason in decision.reason


def test_forbid_wins_over_every_permit() -> None:
    policy = policy_of(rule("yes"), rule("no", Effect.FORBID, models=frozenset({"m"}), why="it was withdrawn"))
    decision = decide(policy, ask_for(), "d")
    assert not decision.allowed
    assert decision.reason == "rule 'no' forbids it: it was withdrawn"
    assert decision.rules == ("no", "yes")
    assert decide(policy, ask_for(model="n"), "d").allowed


def test_permit_for_another_wrapping_says_which() -> None:
    policy = policy_of(rule("noised", arrives=frozenset({Protection.LOCAL_DP}), protection=Protection.LOCAL_DP))
    decision = decide(policy, ask_for(), "d")
    assert decision.reason == (
        "rule 'noised' permits classify only with noise that the client added, and it came in the clear"
    )
    assert decision.rules == ()


def some_rules(chance: random.Random) -> list[Rule]:
    def scope(names: tuple[str, ...]) -> frozenset[str] | None:
        return chance.choice([None, frozenset(chance.sample(names, chance.randint(1, len(names))))])

    def one(number: int) -> Rule:
        arrives = frozenset(chance.sample(list(Protection), chance.randint(1, 4)))
        methods = chance.choice([None, frozenset(chance.sample(list(Method), 3))])
        scopes = {"tenants": scope(TENANTS), "models": scope(MODELS), "methods": methods, "arrives": arrives}
        return rule(f"r{number}", chance.choice(list(Effect)), **scopes)

    return [one(number) for number in range(chance.randint(0, 4))]


def oracle(rules: list[Rule], ask: Ask) -> bool:
    """Cedar's rule, in two lines and from nothing but the scopes."""
    tenant = ask.principal.tenant
    matching = [
        each.effect
        for each in rules
        if tenant in (each.tenants or TENANTS)
        and ask.model in (each.models or MODELS)
        and ask.method in (each.methods or tuple(Method))
        and ask.arrives in each.arrives
    ]
    return Effect.PERMIT in matching and Effect.FORBID not in matching


def test_decision_is_cedars_for_random_policies() -> None:
    chance = random.Random(5)
    allowed = 0
    for _ in range(60):
        rules = some_rules(chance)
        policy = policy_of(*rules)
        for ask in every_ask():
            assert decide(policy, ask, "d").allowed == oracle(rules, ask)
            allowed += oracle(rules, ask)
    assert allowed > 100


def test_decision_does_not_depend_on_the_order_of_rules() -> None:
    chance = random.Random(7)
    for _ in range(15):
        rules = some_rules(chance)
        asks = chance.sample(list(every_ask()), 20)
        verdicts = {tuple(decide(policy_of(*order), ask, "d").allowed for ask in asks) for order in permutations(rules)}
        assert len(verdicts) == 1


def test_decision_is_a_function_of_its_arguments() -> None:
    policy = load_policy(LETTERS)
    ask = ask_for("editors", "sentiment")
    assert decide(policy, ask, "one") == replace(decide(policy, ask, "two"), decision_id="one")


def denied_holds_nothing(decision: Decision) -> bool:
    return decision == Decision(decision.decision_id, False, decision.reason, decision.rules, decision.policy_revision)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_denial_carries_no_account_and_no_permission(path: Path) -> None:
    policy = load_policy(path)
    for tenant, model, method, arrives in product((*policy.tenants, "x"), (*policy.models, "y"), Method, Protection):
        decision = decide(policy, ask_for(tenant, model, method, arrives), "d")
        assert decision.policy_revision == policy.revision
        assert decision.allowed or denied_holds_nothing(decision)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_permit_imposes_its_protection_on_what_came_in_the_right_way(path: Path) -> None:
    policy = load_policy(path)
    permitted = 0
    for tenant, model, method, arrives in product(policy.tenants, policy.models, Method, Protection):
        decision = decide(policy, ask_for(tenant, model, method, arrives, "s"), "d")
        if not decision.allowed:
            continue
        permitted += 1
        assert method in METHODS[decision.protection]
        wrapped = decision.protection in {Protection.LOCAL_DP, Protection.ENCRYPTED}
        assert arrives is (decision.protection if wrapped else Protection.NONE)
        dp = decision.protection in {Protection.LOCAL_DP, Protection.OUTPUT_DP}
        assert (decision.guarantee is not None) == (decision.mechanism is not None) == dp
        assert (decision.account is not None) == (decision.protection is not Protection.NONE)
    assert permitted


def test_account_follows_the_credential_and_its_subject() -> None:
    policy = load_policy(LETTERS)
    one, other = (decide(policy, ask_for("editors", "sentiment", subject=s), "d").account for s in ("x", None))
    assert one is not None and other is not None
    assert (one.key, other.key) == ("subject:mood/editors/x", "subject:mood/editors/editors")
