"""Errors: what they say, and that they survive the way to another process."""

import pickle

import pytest

from pytest_triton import errors
from pytest_triton.errors import ConfigurationError, ModelLoadError, PytestTritonError, SLOViolation, nearest

EVERY_KIND = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if issubclass(kind, PytestTritonError)])
def test_every_error_pickles_with_all_it_knows(kind: type[PytestTritonError]) -> None:
    error = kind("it broke", hint="mend it", model="alexnet", configuration="i2", details=["line 1", "line 2"])
    error.add_note("noted")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.args == error.args


def test_fields_of_their_own_survive_too() -> None:
    syntax = pickle.loads(pickle.dumps(ConfigurationError("no brace", line=3, column=7, model="m")))
    assert (syntax.line, syntax.column, syntax.model) == (3, 7, "m")
    refused = pickle.loads(pickle.dumps(ModelLoadError("Triton refused it", reason="no backend")))
    assert refused.reason == "no backend"


def test_a_missed_slo_is_an_assertion_and_pickles() -> None:
    violation = pickle.loads(pickle.dumps(SLOViolation("p99 missed\ntable")))
    assert isinstance(violation, AssertionError)
    assert str(violation) == "p99 missed\ntable"


def test_the_first_line_stands_alone() -> None:
    error = PytestTritonError("it broke", hint="mend it", model="alexnet", configuration="i2", details=["evidence"])
    assert str(error).splitlines() == ["it broke", "  model: alexnet [i2]", "  | evidence", "  mend it"]


def test_every_error_stands_in_the_drawn_tree() -> None:
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in EVERY_KIND)


@pytest.mark.parametrize(
    ("word", "answer"),
    [("concurency", "did you mean 'concurrency'?"), ("xyz", "valid names: batch_size, concurrency")],
)
def test_the_nearest_name_is_offered_else_all(word: str, answer: str) -> None:
    assert nearest(word, ["concurrency", "batch_size"]) == answer
