"""What a policy's parts must be together: each contradiction is refused with the rule's name and the way out."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from privacy.ledger.accounting import epsilon_of_rho
from privacy.mechanisms import mechanism_for
from privacy.policy.loading import Examination, examine, load_policy
from privacy.policy.types import Policy
from privacy.policy.yaml import read_document
from privacy.types import Method, Owner, Protection, SideChannels

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "examples" / "policies"
LETTERS = ROOT / "tests" / "data" / "policies" / "letters.yaml"
Edit = Callable[[dict[str, Any]], object]


def edited(name: str, *edits: Edit) -> Examination:
    file = LETTERS if name == "letters" else POLICIES / f"{name}.yaml"
    values = deepcopy(read_document(file.read_bytes()).values)
    for edit in edits:
        edit(values)
    # JSON is YAML.
    return examine(json.dumps(values).encode(), POLICIES)


def put(value: object, *path: str | int) -> Edit:
    def edit(values: Any) -> None:
        for step in path[:-1]:
            values = values[step]
        values[path[-1]] = value

    return edit


def cut(*path: str | int) -> Edit:
    def edit(values: Any) -> None:
        for step in path[:-1]:
            values = values[step]
        del values[path[-1]]

    return edit


def again(index: int, **changes: object) -> Edit:
    """One rule more: a copy of another with changes."""

    def edit(values: Any) -> None:
        values["rules"].append({**deepcopy(values["rules"][index]), "name": "again", **changes})

    return edit


def guarantee(**changes: object) -> Edit:
    return lambda values: values["rules"][1 if len(values["rules"]) > 2 else 0]["guarantee"].update(changes)


def another_issuer(values: dict[str, Any]) -> None:
    issuers = values["identity"]["jwt"]
    issuers.append({**issuers[0], "issuer": "https://other.example", "tenants": ["editors"]})


NAMES = [
    (
        "letters",
        put(["analysts", "analysts", "auditors", "editors"], "tenants"),
        "the tenant 'analysts' is given twice",
    ),
    ("letters", put(["any", "analysts", "auditors", "editors"], "tenants"), "`any` in `tenants` stands for all"),
    (
        "letters",
        put(["analyst"], "rules", 0, "tenants"),
        "names the tenant 'analyst', which the policy does not declare; did you mean 'analysts'?",
    ),
    (
        "letters",
        put(["gpt"], "rules", 0, "models"),
        "names the model 'gpt', which the policy does not declare; declared are: letters-1b, sentiment",
    ),
    ("letters", put("no-embeddings", "rules", 0, "name"), "the rule 'no-embeddings' is given twice"),
    ("letters", put(["nobody"], "identity", "jwt", 0, "tenants"), "vouches for the tenant 'nobody'"),
    ("letters", put({}, "identity"), "names no way to prove anything"),
    ("local-dp", put("x", "identity", "certificates", 0, "tenant"), "stands for the tenant 'x'"),
    (
        "local-dp",
        put("DNS:Ward-7.clinic.example", "identity", "certificates", 0, "san"),
        "the certificate's name 'ward-7.clinic.example' is given twice",
    ),
    ("local-dp", put({"may_see": []}, "devices", 0), "entry 1 must give either `device` or `node`"),
    ("local-dp", put({"device": "cpu", "node": "a", "may_see": []}, "devices", 0), "entry 1 must give either"),
    ("local-dp", put([{"device": "cpu", "may_see": []}] * 2, "devices"), "the entry for 'device cpu' is given twice"),
]
PROTECTIONS = [
    ("letters", put("none", "rules", 1, "protection"), "`guarantee` means nothing under the protection none"),
    ("letters", put("none", "rules", 2, "protection"), "a rule that forbids imposes nothing; remove `protection`"),
    ("letters", put(["none"], "rules", 1, "arrives"), "`arrives` is for rules that forbid"),
    ("letters", cut("rules", 1, "protection"), "it lacks `protection`; say what"),
    (
        "local-dp",
        put(["generate"], "rules", 0, "methods"),
        "generate cannot have the protection local-dp; it is for classify-vectors",
    ),
    ("encrypted", put(["classify"], "rules", 0, "methods"), "classify cannot have the protection encrypted"),
    (
        "letters",
        put(["search-encrypted"], "rules", 1, "methods"),
        "search-encrypted cannot have the protection output-dp",
    ),
    ("encrypted", cut("rules", 0, "encrypted"), "the protection encrypted lacks `encrypted`; bound the queries"),
    ("encrypted", cut("rules", 0, "encrypted", "max_queries"), "`encrypted` lacks `max_queries`; bound the queries"),
    (
        "encrypted",
        cut("rules", 0, "encrypted", "weights"),
        "`encrypted` lacks `weights`; state what encryption does not give",
    ),
    (
        "encrypted",
        put("protected", "rules", 0, "encrypted", "weights"),
        "it must be 'not-protected-beyond-max-queries'",
    ),
    (
        "encrypted",
        put({"early_exit": "allowed"}, "rules", 0, "side_channels"),
        "tell of the input what encrypted hides",
    ),
    (
        "letters",
        put({"early_exit": "allowed"}, "rules", 1, "side_channels"),
        "tell of the input what output-dp hides",
    ),
    ("encrypted", put({"cache": "shared"}, "rules", 1, "side_channels"), "there is no cache of prefixes"),
    ("letters", put("per-tenant", "rules", 0, "side_channels", "cache"), "there is no cache of prefixes"),
]
GUARANTEES = [
    ("letters", guarantee(observer="server"), "the server sees the request before output-dp adds noise"),
    ("local-dp", guarantee(observer="querier"), "write `observer: server`"),
    (
        "letters",
        guarantee(unit="person"),
        "a budget that is refilled every day protects a person's day and no person; write `unit: person-day`",
    ),
    ("letters", guarantee(lifetime="forever"), "the unit person-day counts one day; write `lifetime: day`"),
    (
        "letters",
        guarantee(unit="request", lifetime="forever"),
        "the unit request and the lifetime request go together",
    ),
    (
        "letters",
        guarantee(unit="person", lifetime="request"),
        "the unit request and the lifetime request go together",
    ),
    (
        "letters",
        guarantee(adjacency="replace-one"),
        "what a subject sends may be anything; write `adjacency: any-two-inputs`",
    ),
    ("letters", guarantee(unit="document", lifetime="forever"), "the unit document is a dataset's"),
    (
        "letters",
        put("subject", "rules", 0, "budget", "owner"),
        "private-documents protects a dataset, shared by all tenants; write `owner: dataset`",
    ),
    (
        "letters",
        put("dataset", "rules", 1, "budget", "owner"),
        "noise of randomised-response protects an input and no dataset",
    ),
    (
        "letters",
        put("any-two-inputs", "rules", 0, "guarantee", "adjacency"),
        "datasets are neighbours when they differ in one unit",
    ),
    (
        "letters",
        put("person-day", "rules", 0, "guarantee", "unit"),
        "a dataset is made of documents and is the same tomorrow",
    ),
    ("local-dp", put("dataset", "rules", 0, "budget", "owner"), "local-dp protects who sends, and no dataset"),
]
COSTS = [
    (
        "local-dp",
        put("randomised-response", "rules", 0, "mechanism", "name"),
        "randomised-response does not run on a client",
    ),
    ("letters", put("gaussian", "rules", 1, "mechanism", "name"), "the mechanism: there is no mechanism 'gaussian'"),
    (
        "letters",
        put({"epsilon": 0.5}, "rules", 1, "mechanism", "parameters"),
        "randomised-response needs the parameter labels",
    ),
    (
        "letters",
        put({"epsilon": 0, "labels": 2}, "rules", 1, "mechanism", "parameters"),
        "epsilon of randomised-response must be",
    ),
    ("letters", put(["embed"], "rules", 1, "methods"), "randomised-response does not protect embed"),
    (
        "letters",
        put(5.0, "rules", 1, "mechanism", "parameters", "epsilon"),
        "one release of randomised-response comes to epsilon",
    ),
    ("letters", guarantee(epsilon=0.1), "and the guarantee allows 0.1; add noise"),
    (
        "local-dp",
        put(9.0, "rules", 0, "mechanism", "parameters", "epsilon"),
        "one release of discrete-gaussian comes to epsilon 9",
    ),
]


@pytest.mark.parametrize(("name", "edit", "said"), NAMES + PROTECTIONS + GUARANTEES + COSTS)
def test_contradiction_is_refused_with_the_way_out(name: str, edit: Edit, said: str) -> None:
    found = edited(name, edit)
    assert found.policy is None
    assert any(said in complaint for complaint in found.complaints), found.complaints


@pytest.mark.parametrize(
    ("name", "edits", "said"),
    [
        (
            "letters",
            [again(1, protection="none", guarantee=None, mechanism=None, budget=None)],
            "permit the same requests",
        ),
        ("letters", [again(1, may_log=[])], "rules 'mood-of-a-letter' and 'again' permit the same requests"),
        (
            "letters",
            [again(1, methods=["classify-vectors"]), put(2.0, "rules", -1, "guarantee", "epsilon")],
            "charge one budget 'mood' and promise different guarantees",
        ),
        (
            "letters",
            [
                put(["analysts"], "rules", 0, "tenants"),
                again(0, tenants=["auditors"], budget={"owner": "dataset", "name": "letters-of-auditors"}),
            ],
            "tenants may pool what they learn, so name one dataset in both",
        ),
        (
            "encrypted",
            [
                put(["classify-encrypted"], "rules", 0, "methods"),
                again(0, methods=["search-encrypted"]),
                put(10, "rules", -1, "encrypted", "max_queries"),
            ],
            "cap the queries of one tenant to one model differently",
        ),
    ],
)
def test_rules_that_contradict_each_other_are_refused(name: str, edits: list[Edit], said: str) -> None:
    found = edited(name, *edits)
    assert found.policy is None
    assert any(said in complaint for complaint in found.complaints), found.complaints


def test_rules_that_impose_the_same_may_overlap() -> None:
    assert edited("letters", again(1)).policy is not None


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("letters", guarantee(epsilon=10.0), "epsilon 10 is 10 or more"),
        ("letters", guarantee(delta=1e-4), "delta 0.0001 is above 1e-05"),
        ("letters", guarantee(), "what is learnt of a person over many days is not bounded"),
        ("local-dp", guarantee(unit="request", lifetime="request"), "over many requests is not bounded"),
        ("letters", put(["times"], "rules", 1, "may_log"), "logged times tell readers of the log"),
        ("letters", put({}, "rules", 1, "side_channels"), "answers leave as soon as they are ready"),
        ("letters", again(1, methods=["classify-vectors"], budget={"owner": "subject", "name": "more"}), "adds up"),
        ("letters", put(["letters-1b", "sentiment"], "rules", 1, "models"), "without charging the dataset 'letters'"),
        ("letters", put(["any"], "rules", 2, "methods"), "'no-embeddings' forbids all of it"),
        ("letters", put(["analysts"], "rules", 0, "tenants"), "the tenant 'auditors' is permitted nothing"),
        ("letters", put(["hidden"], "devices", 0, "may_see"), "no device may see raw tokens"),
        ("letters", another_issuer, "the issuer 'https://id.archive.example' is one of several"),
        ("encrypted", put(300, "rules", 0, "encrypted", "max_queries"), "together may ask 600 queries"),
    ],
)
def test_what_deserves_a_second_look_is_said(name: str, edit: Edit, said: str) -> None:
    policy = edited(name, edit).policy
    assert policy is not None
    assert any(said in warning for warning in policy.warnings), policy.warnings


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_example_can_be_used(path: Path) -> None:
    policy = load_policy(path)
    assert len(policy.revision) == 64
    assert policy.accounts()


def rule_of(name: str, index: int, *edits: Edit) -> Any:
    policy = edited(name, *edits).policy
    assert policy is not None
    return policy.rules[index]


@pytest.mark.parametrize(("name", "index"), [("local-dp", 0), ("letters", 0), ("letters", 1), ("encrypted", 0)])
def test_side_channels_are_closed_by_default_under_dp_and_encryption(name: str, index: int) -> None:
    rule = rule_of(name, index, lambda values: values["rules"][index].pop("side_channels", None))
    assert rule.side_channels.constant_depth


def test_side_channels_are_open_by_default_without_protection() -> None:
    rule = rule_of("encrypted", 1)
    assert not rule.side_channels.constant_depth


def test_depth_is_constant_without_protection_where_the_rule_says_so() -> None:
    assert rule_of("encrypted", 1, put({"early_exit": "forbidden"}, "rules", 1, "side_channels")).side_channels == (
        SideChannels(constant_depth=True)
    )


def test_any_method_of_a_permit_is_every_one_that_its_protection_can_have() -> None:
    rule = rule_of("local-dp", 0, put(["any"], "rules", 0, "methods"))
    assert rule.methods == {Method.CLASSIFY_VECTORS}
    assert rule.arrives == {Protection.LOCAL_DP}


def test_budget_is_what_the_guarantee_comes_to() -> None:
    rule = rule_of("letters", 1)
    assert epsilon_of_rho(rule.budget.rho_cap, rule.budget.delta) == pytest.approx(4.0, rel=1e-9)
    assert epsilon_of_rho(rule.budget.rho_cap, rule.budget.delta) <= 4.0
    assert mechanism_for(rule.mechanism).charge(1).rho <= rule.budget.rho_cap


@pytest.fixture(scope="module")
def letters() -> Policy:
    return load_policy(LETTERS)


def test_dataset_has_one_account_for_all_tenants(letters: Policy) -> None:
    budget = letters.rules[0].budget
    assert budget is not None
    accounts = {budget.account(tenant, "s", "letters-1b").key for tenant in ("analysts", "auditors")}
    assert accounts == {"dataset:letters"}


def test_subject_has_an_account_of_each_tenant_and_no_two_share_one(letters: Policy) -> None:
    budget = letters.rules[1].budget
    assert budget is not None
    asked = [("editors", "a/b"), ("editors", "a"), ("analysts", "a"), ("analysts", "editors/a")]
    assert len({budget.account(tenant, subject, "sentiment").key for tenant, subject in asked}) == len(asked)


def test_accounts_of_a_policy_are_those_of_datasets_tenants_and_weights(letters: Policy) -> None:
    assert {account.key for account in letters.accounts()} == {"dataset:letters", "subject:mood/editors/editors"}
    sealed = load_policy(POLICIES / "encrypted.yaml")
    assert {(account.owner, account.rho_cap) for account in sealed.accounts()} == {(Owner.WEIGHTS, 190.0)}


def test_device_sees_what_its_node_and_name_are_cleared_for(letters: Policy) -> None:
    assert letters.may_see("cpu", "") == {"raw-tokens"}
    assert letters.may_see("gpu-node.gpu0", "gpu-node") == {"hidden"}
    assert letters.may_see("other.cpu", "other") == frozenset()


def test_files_are_named_relative_to_the_policy(letters: Policy) -> None:
    assert letters.identity.jwt[0].jwks_file == LETTERS.parent / "keys" / "jwks.json"
    assert letters.state.ledger_file == Path("/var/lib/hetero/letters/ledger.sqlite3")
