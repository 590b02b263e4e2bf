"""What a policy costs: a decision, a credential, a durable charge; and a request with and without a policy.

Serves one small model in this process, once without a policy and once under one, and asks both in turn over real
channels. The policy, its keys and its ledger are made in a temporary folder, so every charge waits for a real disk.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from hetero.bench.decisions import measure_decisions
from hetero.bench.off_path import off_path_seconds
from hetero.client import Client
from hetero.governance import Governance, open_governance
from hetero.runtime import Runtime
from hetero.served import Served
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from privacy.guard_opening import begin_state
from privacy.identity.identifier import Presented
from privacy.identity.keys import hash_of, make_key
from privacy.ledger.spending_costs import SpendingCosts, measure_spending
from privacy.policy.loading import load_policy
from privacy.types import Ask, Method, Principal

MODEL = "bench"
#: A policy that a site could have: rules are looked through for every request.
TENANTS, RULES = 50, 60
PROMPT, TOKENS = "Once upon a time", 4

_GUARANTEE = {"unit": "person", "adjacency": "any-two-inputs", "observer": "reader-of-outputs", "lifetime": "forever"}
_MECHANISM = {"name": "bounded-logits", "parameters": {"clip": 0.25, "temperature": 8.0}}


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 99th percentile, in seconds."""

    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class PrivacyCosts:
    """`off_added_seconds`: what the layer's checks add to a request where no policy is in force."""

    decision: Spread
    credential: Spread
    admission: Spread
    release: Spread
    request_without_policy: Spread
    request_under_policy: Spread
    private_request: Spread
    off_added_seconds: float
    #: Of the ledger alone, on the disk of temporary files.
    spending: SpendingCosts

    @property
    def off_share(self) -> float:
        """Of the p50 of a request without a policy."""
        return self.off_added_seconds / self.request_without_policy.p50_seconds


def measure_privacy(model: str, rounds: int, tell: Callable[[str], None]) -> PrivacyCosts:
    """Measure all of it; `rounds` requests of each kind."""
    with ExitStack() as stack:
        tell("starting the model")
        folder = Path(stack.enter_context(TemporaryDirectory()))
        runtime = stack.enter_context(Runtime(model, in_process=True))
        keys = {tenant: make_key() for tenant in ("plain", "private")}
        file = write_policy(folder, keys)
        begin_state(load_policy(file))
        governance = stack.enter_context(open_governance(file))
        asks = stack.enter_context(_clients(Served(runtime, MODEL), governance, keys))
        tell("asking with and without a policy")
        off, plain, private = _in_turn(asks, rounds)
        tell("timing the guard")
        admission, release = _guard_times(governance, rounds)
        presented = Presented(api_keys=(keys["private"],))
        decisions = measure_decisions(governance.policy)
        tell("charging the ledger")
        return PrivacyCosts(
            Spread(decisions.median_seconds, decisions.p99_seconds),
            _spread(_timed(lambda: governance.identifier.identify(presented), 20 * rounds)),
            admission,
            release,
            off,
            plain,
            private,
            off_path_seconds(),
            measure_spending(folder / "spending"),
        )


def write_policy(folder: Path, keys: dict[str, str]) -> Path:
    """A policy of many tenants and rules, of which the last two permit; JSON is YAML."""
    (folder / "keys.txt").write_text("".join(f"{hash_of(key)} {tenant}\n" for tenant, key in keys.items()))
    others = [f"tenant-{number}" for number in range(TENANTS)]
    scope = {"models": [MODEL], "methods": ["generate"]}
    forbids = [
        {"name": f"rule-{number}", "effect": "forbid", "tenants": [others[number % TENANTS]], **scope}
        for number in range(RULES)
    ]
    plain = {"name": "plain", "effect": "permit", "tenants": ["plain"], **scope, "protection": "none", "may_log": []}
    private = plain | {
        "name": "private",
        "tenants": ["private"],
        "protection": "output-dp",
        "guarantee": _GUARANTEE | {"epsilon": 1000.0, "delta": 1e-6, "accountant": "zcdp"},
        "mechanism": _MECHANISM,
        "budget": {"owner": "subject", "name": "bench"},
    }
    policy = {
        "version": 1,
        "name": "bench",
        "tenants": [*others, *keys],
        "models": [MODEL],
        "identity": {"api_keys_file": "keys.txt"},
        "devices": [{"device": "any", "may_see": ["raw-tokens"]}],
        "state": {"directory": "state"},
        "rules": [*forbids, plain, private],
    }
    file = folder / "policy.yaml"
    file.write_text(json.dumps(policy, indent=1))
    return file


@contextmanager
def _clients(served: Served, governance: Governance, keys: dict[str, str]) -> Iterator[list[Client]]:
    """Clients of a server without a policy, of one under it in the clear, and of the same privately."""
    with ExitStack() as stack:
        ports = []
        for each in (None, governance):
            server = stack.enter_context(Server(ServerSettings(port=0), each))
            server.attach(served)
            ports.append(server.port)
        shown = [(ports[0], None), (ports[1], keys["plain"]), (ports[1], keys["private"])]
        yield [stack.enter_context(Client(f"localhost:{port}", api_key=key)) for port, key in shown]


def _in_turn(clients: list[Client], rounds: int) -> list[Spread]:
    """Each client's requests, one of each after the other, so that all see the same machine."""
    times: list[list[float]] = [[] for _ in clients]
    for number in range(rounds + 5):
        for client, found in zip(clients, times, strict=True):
            began = time.perf_counter()
            client.generate(PROMPT, max_tokens=TOKENS, ignore_eos=True, nonce=str(number))
            found.append(time.perf_counter() - began)
    return [_spread(found[5:]) for found in times]


def _guard_times(governance: Governance, rounds: int) -> tuple[Spread, Spread]:
    """A durable charge and a durable answer, one after the other."""
    ask = Ask(Principal("private", "bench", "guard"), MODEL, Method.GENERATE, count=TOKENS)
    admitting, releasing = [], []
    for number in range(rounds):
        began = time.perf_counter()
        admission = governance.guard.admit(ask, number.to_bytes(4, "big"))
        admitted = time.perf_counter()
        governance.guard.open(admission)
        governance.guard.release(admission, b"answer")
        admitting.append(admitted - began)
        releasing.append(time.perf_counter() - admitted)
    return _spread(admitting), _spread(releasing)


def _timed(work: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def _spread(seconds: list[float]) -> Spread:
    return Spread(median(seconds), quantiles(seconds, n=100)[98])
