"""Names and parameters of mechanisms: what is refused, and how the refusal reads."""

import pytest

from privacy.errors import MechanismError
from privacy.mechanisms import check_mechanism, mechanism_for, mechanism_names
from privacy.types import MechanismSpec, Method

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("laplace", {}, "there is no mechanism"),
        ("randomised-response", {"labels": 2}, "needs the parameter epsilon"),
        ("randomised-response", {"epsilon": 1}, "needs the parameter labels"),
        ("randomised-response", {"epsilon": 1, "labels": 1}, "at least 2"),
        ("randomised-response", {"epsilon": 1, "labels": 2.5}, "whole number"),
        ("randomised-response", {"epsilon": 100, "labels": 2}, "at most 60"),
        ("randomised-response", {"epsilon": 1, "labels": 2, "clip": 1}, "no parameter 'clip'"),
        ("exponential", {"clip": 1}, "either temperature or epsilon"),
        ("exponential", {"clip": 1, "temperature": 1, "epsilon": 1}, "either temperature or epsilon"),
        ("exponential", {"clip": NAN, "temperature": 1}, "above 0"),
        ("bounded-logits", {"clip": INFINITY, "temperature": 1}, "above 0"),
        ("bounded-logits", {"clip": -1, "temperature": 1}, "above 0"),
        ("private-documents", {"clip": 1, "temperature": 1, "documents": 0}, "at least 1"),
        ("discrete-gaussian", {"clip": 1}, "takes one of"),
        ("discrete-gaussian", {"clip": 1, "rho": 1, "noise_multiplier": 1}, "takes one of"),
        ("discrete-gaussian", {"clip": 1, "epsilon": 1}, "takes one of"),
        ("discrete-gaussian", {"clip": 1, "epsilon": 1, "delta": 1.5}, "below 1"),
        ("discrete-gaussian", {"clip": 1, "noise_multiplier": 0}, "above 0"),
        ("discrete-gaussian", {"clip": 1, "noise_multiplier": 1, "grid": 2}, "at most clip"),
        ("discrete-gaussian", {"clip": 1, "noise_multiplier": 1, "grid": 1e-12}, "at least clip"),
    ],
)
def test_mechanism_for_refuses_what_is_no_mechanism(name: str, parameters: dict[str, float], says: str) -> None:
    with pytest.raises(MechanismError, match=says):
        mechanism_for(MechanismSpec(name, tuple(parameters.items())))


def test_mechanism_for_refuses_a_parameter_given_twice() -> None:
    with pytest.raises(MechanismError, match="twice"):
        mechanism_for(MechanismSpec("exponential", (("clip", 1.0), ("clip", 2.0), ("temperature", 1.0))))


@pytest.mark.parametrize("method", Method)
def test_check_mechanism_permits_only_what_protects_the_method(method: Method) -> None:
    specs = {
        "randomised-response": (("epsilon", 1.0), ("labels", 2.0)),
        "exponential": (("clip", 1.0), ("temperature", 1.0)),
        "discrete-gaussian": (("clip", 1.0), ("rho", 1.0)),
        "bounded-logits": (("clip", 1.0), ("temperature", 1.0)),
        "private-documents": (("clip", 1.0), ("temperature", 1.0), ("documents", 4.0)),
    }
    for name, parameters in specs.items():
        if name in mechanism_names(method):
            check_mechanism(MechanismSpec(name, parameters), method)
        else:
            with pytest.raises(MechanismError, match="does not protect"):
                check_mechanism(MechanismSpec(name, parameters), method)
    assert set(specs) == set(mechanism_names())
    assert ("encrypted" in method.value) == (not mechanism_names(method))


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_charge_refuses_no_release(count: int) -> None:
    mechanism = mechanism_for(MechanismSpec("bounded-logits", (("clip", 1.0), ("temperature", 1.0))))
    with pytest.raises(MechanismError, match="whole number"):
        mechanism.charge(count)
