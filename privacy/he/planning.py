"""From an encrypted model's numbers to its layouts, rotations and bounds: what is fixed before anything is encoded."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.activation import fold_after, fold_before
from privacy.he.choosing import Steps, choose, with_baby_steps
from privacy.he.description import Description
from privacy.he.packing import Floats, following
from privacy.he.parameters import named_parameters
from privacy.he.spec import Dense, ModelSpec

#: Longer vectors than this are refused even where the range would hold them: the error grows with the length.
_LONGEST = 4096.0
_SHORTEST = 1e-3


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One linear layer as it is computed: weights with the activations' shares in them, layout, level it starts at."""

    weight: Floats
    bias: Floats
    steps: Steps
    level: int


def plan_layers(spec: ModelSpec) -> tuple[LayerPlan, ...]:
    """The layers of `spec`, squares between them. Raises EncryptionError where they fit no layout."""
    parameters = named_parameters(spec.parameters)
    folded = _folded(spec)
    plans: list[LayerPlan] = []
    for number, layer in enumerate(folded):
        level = 2 * number
        primes = parameters.depth + 1 - level
        weight = layer.weight
        if not plans:
            steps = choose(weight.shape[0], weight.shape[1], parameters.slots, primes)
            steps = steps if len(folded) == 1 else _alone(steps)
        else:
            packing = following(plans[-1].steps.packing, len(weight))
            steps = with_baby_steps(packing, primes)
            weight = np.pad(weight, ((0, 0), (0, packing.columns - weight.shape[1])))
        plans.append(LayerPlan(weight, layer.bias, steps, level))
    return tuple(plans)


def describe(spec: ModelSpec, queries_per_epoch: int = 0, epoch_seconds: float = 0.0) -> Description:
    """What users of `spec` must know. Raises EncryptionError where the model does not fit its parameter set."""
    plans = plan_layers(spec)
    return Description(
        name=spec.name,
        digest=spec.digest,
        kind=spec.kind,
        parameter_name=spec.parameters,
        taken=plans[0].steps.packing,
        given=plans[-1].steps.packing,
        rotations=tuple(sorted({step for plan in plans for step in plan.steps.rotations})),
        relinearise=len(plans) > 1,
        norm_bound=norm_bound(spec),
        labels=spec.labels,
        queries_per_epoch=queries_per_epoch,
        epoch_seconds=epoch_seconds,
        statement=statement(spec, queries_per_epoch, epoch_seconds),
        encoder=spec.encoder,
    )


def encoded_bytes(spec: ModelSpec) -> int:
    """Memory of the weights as plaintexts, which a worker holds."""
    parameters = named_parameters(spec.parameters)
    total = 0
    for plan in plan_layers(spec):
        packing, primes = plan.steps.packing, parameters.depth + 1 - plan.level
        total += packing.share * packing.answers * primes * parameters.degree * 8
    return total


def statement(spec: ModelSpec, queries_per_epoch: int, epoch_seconds: float) -> str:
    """What encryption gives and what it does not, in plain words."""
    security = named_parameters(spec.parameters).security_bits
    text = (
        f"The server sees ciphertexts only ({spec.parameters}, at least {security} bits): the input and the result are"
        " hidden from it, the sizes and the number of requests are not. Nothing drawn from a result may go back to it."
    )
    if not queries_per_epoch:
        return text + f" The weights are not protected from the tenant: about {spec.columns} queries recover a layer."
    span = f"in {epoch_seconds:g} s" if epoch_seconds else "in all"
    return text + (
        f" A tenant may send {queries_per_epoch} vectors {span}; about {spec.columns} would recover a layer's"
        " weights, and tenants may join what they learn."
    )


def norm_bound(spec: ModelSpec) -> float:
    """The longest input whose every value on the way surely stays in range. Raises EncryptionError where none does."""
    limit = named_parameters(spec.parameters).largest_value
    reaches = _reaches(_folded(spec))
    low, high = 0.0, _LONGEST
    if reaches(high) <= limit:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reaches(middle) <= limit else (low, middle)
    if low < _SHORTEST:
        raise EncryptionError(f"the weights of {spec.name} leave the plain range; scale them, or take ckks-16384-3")
    return low


def _reaches(layers: list[Dense]) -> Callable[[float], float]:
    """The largest magnitude anywhere for inputs of a given norm: by Cauchy and Schwarz, and by the spectral norm."""
    spectral = [float(np.linalg.norm(layer.weight, 2)) for layer in layers[:-1]]

    def reaches(norm: float) -> float:
        largest = 0.0
        for layer, gain in zip(layers, [*spectral, 0.0], strict=True):
            rows = np.linalg.norm(layer.weight, axis=1) * norm + abs(layer.bias)
            largest = max(largest, float(rows.max()))
            # The squares' norm is at most the sum of the squares, which is the norm's square.
            norm = (gain * norm + float(np.linalg.norm(layer.bias))) ** 2
            largest = max(largest, norm if gain else 0.0)
        return largest

    return reaches


def _folded(spec: ModelSpec) -> list[Dense]:
    """The layers, with plain squares between them instead of the activations."""
    layers = list(spec.layers)
    for number, activation in enumerate(spec.activations):
        layers[number] = Dense(*fold_before(activation, layers[number].weight, layers[number].bias))
        after = layers[number + 1]
        layers[number + 1] = Dense(*fold_after(activation, after.weight, after.bias))
    return layers


def _alone(steps: Steps) -> Steps:
    """The same layout with one vector a ciphertext: a layer that follows has no lanes."""
    return replace(steps, packing=replace(steps.packing, lane=steps.packing.period))
