"""Mechanisms by the names that policies use, and which methods each can protect. Knows no policy."""

from collections.abc import Callable
from dataclasses import dataclass

from privacy.errors import MechanismError
from privacy.mechanisms.base import Mechanism, Parameters
from privacy.mechanisms.costs import noise_multiplier_of_rho
from privacy.mechanisms.documents import DocumentTokens
from privacy.mechanisms.labels import ExponentialLabels, RandomisedResponse
from privacy.mechanisms.tokens import BoundedTokens
from privacy.mechanisms.vectors import GaussianVectors, noise_multiplier_for
from privacy.types import MechanismSpec, Method


def mechanism_names(method: Method | None = None) -> tuple[str, ...]:
    """The names of all mechanisms, or of those that protect `method`."""
    return tuple(name for name, entry in _ENTRIES.items() if method is None or method in entry.methods)


def mechanism_for(spec: MechanismSpec) -> Mechanism:
    """The mechanism that `spec` names. Raises MechanismError for an unknown name, parameter or value."""
    if spec.name not in _ENTRIES:
        raise MechanismError(f"there is no mechanism {spec.name!r}; there are {', '.join(_ENTRIES)}")
    return _ENTRIES[spec.name].build(Parameters(spec))


def check_mechanism(spec: MechanismSpec, method: Method) -> None:
    """Raise MechanismError unless `spec` is a mechanism that can protect `method`. Needs no sampler."""
    mechanism_for(spec)
    if method not in _ENTRIES[spec.name].methods:
        able = ", ".join(mechanism_names(method)) or "none"
        raise MechanismError(f"{spec.name} does not protect {method.value}; the mechanisms that do: {able}")


def _randomised_response(given: Parameters) -> Mechanism:
    given.known("epsilon", "labels")
    return RandomisedResponse(given.positive("epsilon"), given.whole("labels", 2))


def _exponential(given: Parameters) -> Mechanism:
    given.known("clip", "temperature", "epsilon")
    return ExponentialLabels(*_clip_and_temperature(given))


def _bounded_logits(given: Parameters) -> Mechanism:
    given.known("clip", "temperature", "epsilon")
    return BoundedTokens(*_clip_and_temperature(given))


def _clip_and_temperature(given: Parameters) -> tuple[float, float]:
    """`clip` with either `temperature`, or the `epsilon` of one release, which is 4 clip / temperature."""
    clip = given.positive("clip")
    if given.has("temperature") == given.has("epsilon"):
        raise MechanismError(f"{given.spec.name} takes clip with either temperature or epsilon; give one of them")
    if given.has("epsilon"):
        return clip, 4 * clip / given.positive("epsilon")
    return clip, given.positive("temperature")


def _private_documents(given: Parameters) -> Mechanism:
    given.known("clip", "temperature", "documents", "top_k")
    return DocumentTokens(
        given.positive("clip"),
        given.positive("temperature"),
        given.whole("documents", 1),
        given.whole("top_k", 0, default=0),
    )


def _discrete_gaussian(given: Parameters) -> Mechanism:
    given.known("clip", "grid", "noise_multiplier", "rho", "epsilon", "delta")
    grid = given.positive("grid") if given.has("grid") else None
    return GaussianVectors(given.positive("clip"), _noise_multiplier(given), grid)


def _noise_multiplier(given: Parameters) -> float:
    """From exactly one of: noise_multiplier; rho; epsilon with delta."""
    ways = [name for name in ("noise_multiplier", "rho", "epsilon") if given.has(name)]
    if len(ways) != 1 or given.has("epsilon") != given.has("delta"):
        raise MechanismError("discrete-gaussian takes one of noise_multiplier, rho, or epsilon with delta")
    if given.has("epsilon"):
        return noise_multiplier_for(given.positive("epsilon"), given.positive("delta", below=1.0))
    if given.has("rho"):
        return noise_multiplier_of_rho(given.positive("rho"))
    return given.positive("noise_multiplier")


@dataclass(frozen=True, slots=True)
class _Entry:
    methods: frozenset[Method]
    build: Callable[[Parameters], Mechanism]


_ENTRIES: dict[str, _Entry] = {
    RandomisedResponse.name: _Entry(frozenset({Method.CLASSIFY, Method.CLASSIFY_VECTORS}), _randomised_response),
    ExponentialLabels.name: _Entry(frozenset({Method.CLASSIFY, Method.CLASSIFY_VECTORS}), _exponential),
    GaussianVectors.name: _Entry(frozenset({Method.EMBED, Method.CLASSIFY_VECTORS}), _discrete_gaussian),
    BoundedTokens.name: _Entry(frozenset({Method.GENERATE}), _bounded_logits),
    DocumentTokens.name: _Entry(frozenset({Method.GENERATE}), _private_documents),
}
