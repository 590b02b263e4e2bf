"""Errors cross processes: each must pickle, and come back as what it was."""

import inspect
import pickle

import pytest

import adaptive.errors
import hetero.errors
import placement.errors
import privacy.errors

ROOTS = {
    adaptive.errors: adaptive.errors.AdaptiveError,
    hetero.errors: hetero.errors.HeteroError,
    placement.errors: placement.errors.PlacementError,
    privacy.errors: privacy.errors.PrivacyError,
}


def _errors() -> list[type[Exception]]:
    found: list[type[Exception]] = []
    for module in ROOTS:
        members = inspect.getmembers(module, inspect.isclass)
        found += [member for _, member in members if member.__module__ == module.__name__]
    return found


@pytest.mark.parametrize("error", _errors())
def test_error_survives_pickling_with_type_and_message(error: type[Exception]) -> None:
    returned = pickle.loads(pickle.dumps(error("the model 'x' is not there; name a folder")))
    assert type(returned) is error
    assert str(returned) == "the model 'x' is not there; name a folder"


@pytest.mark.parametrize("error", _errors())
def test_error_has_no_constructor_of_its_own_and_says_when_it_is_raised(error: type[Exception]) -> None:
    assert "__init__" not in vars(error)
    assert error.__doc__


def test_each_package_has_one_root() -> None:
    for module, root in ROOTS.items():
        assert all(issubclass(error, root) for error in _errors() if error.__module__ == module.__name__)
