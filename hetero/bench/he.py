"""Encrypted layers against TenSEAL's own matrix product, in one run: times, errors, sizes.

Ours run in a worker process as they are served; TenSEAL's `mm` runs here. Both use one core.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from privacy.he.activation import activation_named
from privacy.he.limits import Limits
from privacy.he.measuring import EncryptedCost, largest_error, measure
from privacy.he.packing import Floats
from privacy.he.parameters import named_parameters
from privacy.he.pool import WorkerPool
from privacy.he.sealing import tenseal
from privacy.he.spec import ModelSpec, head_spec, linear_spec

#: [rows, columns]; the last is a search over 10,000 documents.
SHAPES = ((2, 384), (384, 384), (768, 768), (1536, 384), (384, 1536), (10000, 384))
#: TenSEAL's product is measured for these alone: it rotates once and encodes once for every column.
COMPARED = ((384, 384), (768, 768))

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HeRow:
    """One layer's cost, and what TenSEAL takes for the same product; None where that was not measured."""

    rows: int
    columns: int
    cost: EncryptedCost
    tenseal_seconds: float | None = None
    #: Over many vectors with extremes; None where that was not asked for.
    worst_error: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times longer TenSEAL takes."""
        return self.tenseal_seconds / self.cost.seconds if self.tenseal_seconds else None


@dataclass(frozen=True, slots=True)
class HeReport:
    """One row a layer, in the order of `SHAPES`, then the head."""

    layers: tuple[HeRow, ...]


def run(parameters: str, rounds: int, compare: bool, vectors: int = 0, tell: Tell = lambda text: None) -> HeReport:
    """Measure every shape with random weights, then a small head; with `vectors`, the worst error over so many.

    Raises EncryptionError for an unknown set.
    """
    specs = _specs(parameters)
    rows = []
    for spec in specs:
        tell(spec.name)
        # Each alone in a worker that is not yielding, as on a machine that does nothing else.
        with closing(WorkerPool([spec], Limits(niceness=0))) as pool:
            cost = measure(pool, spec, rounds=rounds)
            worst = largest_error(pool, spec, vectors) if vectors else None
        rows.append(HeRow(spec.rows, spec.columns, cost, _compared(spec, compare, tell), worst))
    return HeReport(tuple(rows))


def tenseal_seconds(weight: Floats, parameters: str) -> float:
    """CPU seconds of `CKKSVector.mm` with this matrix on one thread, keys and encryption not counted."""
    chosen, library = named_parameters(parameters), tenseal()
    context = library.context(
        library.SCHEME_TYPE.CKKS, chosen.degree, coeff_mod_bit_sizes=list(chosen.prime_bits), n_threads=1
    )
    context.global_scale = chosen.scale
    context.generate_galois_keys()
    vector = library.ckks_vector(context, np.ones(weight.shape[1]) / weight.shape[1])
    columns = weight.T.tolist()
    began = time.process_time()
    vector.mm(columns)
    return time.process_time() - began


def _compared(spec: ModelSpec, compare: bool, tell: Tell) -> float | None:
    if not compare or (spec.rows, spec.columns) not in COMPARED:
        return None
    tell(f"TenSEAL's mm, {spec.name}")
    return tenseal_seconds(spec.layers[0].weight, spec.parameters)


def _specs(parameters: str) -> Sequence[ModelSpec]:
    generator = np.random.default_rng(0)

    def weights(rows: int, columns: int) -> Floats:
        return np.asarray(generator.normal(0, columns**-0.5, (rows, columns)))

    made = [linear_spec(f"{rows}x{columns}", weights(rows, columns), parameters=parameters) for rows, columns in SHAPES]
    layers = [(weights(32, 384), np.zeros(32)), (weights(2, 32), np.zeros(2))]
    return [*made, head_spec("384-32-2 head", layers, [activation_named("gelu")])]
