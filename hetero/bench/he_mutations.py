"""Hostile bytes against a real server: mutated contexts, keys and ciphertexts, each with a digest that fits it.

What counts: the server answers every one, its answers are refusals or, where a mutation left a well-formed ciphertext
or key, ciphertexts of the usual number; its worker stays inside its memory. CKKS has no authenticity: bytes that are
another valid ciphertext are computed on, and decrypt to nonsense for who sent them.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import numpy as np

from hetero.bench.he_mutating import mutated
from hetero.client import connect
from hetero.client_encrypted import EncryptedClient
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.settings import ServerSettings
from privacy.errors import PrivacyError
from privacy.he.client import Sealer
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.keys import KeyBundle
from privacy.he.limits import Limits
from privacy.he.pool import WorkerPool
from privacy.he.spec import linear_spec

_MEMORY_BYTES = 1 << 30
#: Of a hundred blobs: contexts, Galois keys, ciphertexts. Keys are the slowest to read.
_KINDS = ("context",) * 30 + ("galois keys",) * 20 + ("ciphertext",) * 50
_HEALTH_EVERY = 200
#: Longer than a worker's death and a machine's busy minutes; an answer that takes longer counts as none.
_PATIENCE_SECONDS = 300.0
Tell = Callable[[int, int, str], None]


@dataclass(slots=True)
class KindCount:
    """How one kind's blobs were answered. `others`: neither refused in one of our sentences nor computed."""

    name: str
    sent: int = 0
    refused: int = 0
    computed: int = 0
    others: int = 0
    #: Each refusal's sentence, once.
    sentences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MutationReport:
    kinds: tuple[KindCount, ...]
    restarts: int
    peak_bytes: int
    memory_bytes: int
    healthy: int
    unhealthy: int


def run(count: int, seed: int = 0, tell: Tell = lambda done, whole, text: None) -> MutationReport:
    """Send `count` mutated blobs to a server of its own, one after the other, with a health check now and then."""
    chance = random.Random(seed)
    # A tiny layer: it needs one Galois key, so that the time goes to reading many blobs and not to reading long ones.
    weight = np.random.default_rng(0).normal(size=(2, 2))
    limits = Limits(memory_bytes=_MEMORY_BYTES, key_bytes=64 * 2**20, niceness=0)
    bounds = GatewaySettings(
        queries_per_epoch=0, ciphertexts_per_second=0, uploads_per_second=0, tenant_bytes=16 * 2**20, limits=limits
    )
    spec = linear_spec("layer", weight)
    with ExitStack() as stack:
        pool = WorkerPool([spec], limits)
        gateway = stack.enter_context(closing(Gateway([spec], bounds, pool)))
        server = stack.enter_context(EncryptedServer(ServerSettings(port=0), Encrypted(gateway)))
        address = f"localhost:{server.port}"
        client = stack.enter_context(EncryptedClient(address, timeout=_PATIENCE_SECONDS))
        plain = stack.enter_context(connect(address, timeout=_PATIENCE_SECONDS))
        attack = _Attack(client, spec.name, chance)
        health = [0, 0]
        peak = 0
        for number in range(count):
            attack.send(_KINDS[chance.randrange(len(_KINDS))])
            if number % _HEALTH_EVERY == 0 or number == count - 1:
                health[0 if plain.is_serving() else 1] += 1
                peak = max(peak, pool.peak_bytes())
                tell(number + 1, count, f"worker {peak / 2**20:.0f} MiB")
        kinds = tuple(attack.counts.values())
        return MutationReport(kinds, pool.restarts, peak, _MEMORY_BYTES, health[0], health[1])


class _Attack:
    """One tenant with good keys, who sends what it changed of them."""

    def __init__(self, client: EncryptedClient, name: str, chance: random.Random) -> None:
        self.counts = {name: KindCount(name) for name in dict.fromkeys(_KINDS)}
        self._client, self._chance = client, chance
        self._description = client.model(name).description
        sealer = Sealer(self._description)
        self._good = sealer.bundle()
        self._ciphertexts = [sealer.seal(np.ones((1, 2)) * step)[0] for step in (1, 10, 100)]
        client.send_keys(self._good)

    def send(self, kind: str) -> None:
        """One mutated blob of a kind, and how it was answered."""
        count = self.counts[kind]
        count.sent += 1
        try:
            for _ in self._tries(kind):
                count.computed += 1
        except PrivacyError as error:
            count.refused += 1
            if str(error) not in count.sentences:
                count.sentences.append(str(error))
        except Exception:
            count.others += 1

    def _tries(self, kind: str) -> Iterator[None]:
        if kind == "ciphertext":
            blob = mutated(self._chance.choice(self._ciphertexts), self._chance)
            self._apply(self._good.digest, blob)
        else:
            bundle = self._changed(kind)
            self._client.send_keys(bundle)
            self._apply(bundle.digest, self._ciphertexts[0])
        yield

    def _apply(self, keys: str, ciphertext: bytes) -> None:
        (answers,) = self._client.send(self._description, keys, [ciphertext])
        if len(answers) != self._description.given.answers:
            raise AssertionError("another number of ciphertexts came than the layer gives")

    def _changed(self, kind: str) -> KeyBundle:
        if kind == "context":
            return replace(self._good, context=mutated(self._good.context, self._chance))
        return replace(self._good, galois=mutated(self._good.galois, self._chance))
