"""An encrypted model ready to run: every layer encoded, squares between. The server's worker owns one a digest."""

from typing import Any

from privacy.he.linear import EncodedLinear
from privacy.he.parameters import named_parameters
from privacy.he.planning import plan_layers
from privacy.he.sealing import primes, seal, seal_context
from privacy.he.spec import ModelSpec


class EncodedModel:
    """Applies `spec` to ciphertexts under the tenant's keys. Raises EncryptionError where it does not fit its set."""

    def __init__(self, spec: ModelSpec) -> None:
        self.parameters = named_parameters(spec.parameters)
        self.rotations: set[int] = set()
        self._layers: list[EncodedLinear] = []
        self._evaluator = seal().Evaluator(seal_context(self.parameters))
        scale = self.parameters.scale
        for plan in plan_layers(spec):
            if self._layers:
                scale = scale * scale / primes(self.parameters)[-1 - plan.level]
            made = EncodedLinear(self.parameters, plan.steps, plan.weight, plan.bias, plan.level, scale)
            self._layers.append(made)
            self.rotations.update(plan.steps.rotations)

    @property
    def relinearises(self) -> bool:
        return len(self._layers) > 1

    def __call__(self, ciphertext: Any, galois_keys: Any, relinearisation_keys: Any = None) -> list[Any]:
        """The answers to one fresh ciphertext. Raises what SEAL raises where the keys are not those it needs."""
        answers = self._layers[0](ciphertext, galois_keys)
        for layer in self._layers[1:]:
            squared = self._square(answers[0], relinearisation_keys)
            squared.scale = layer.scale
            answers = layer(squared, galois_keys)
        return answers

    def _square(self, ciphertext: Any, keys: Any) -> Any:
        out = seal().Ciphertext()
        self._evaluator.square(ciphertext, out)
        self._evaluator.relinearize_inplace(out, keys)
        self._evaluator.rescale_to_next_inplace(out)
        return out
