"""The exception tree.

Exception
├── PytestTritonError          what went wrong, with whom, and what to do next
│   ├── UsageError             something the user wrote cannot be meant
│   │   ├── QuantityError      a number with its unit
│   │   ├── MarkerError        a marker's argument
│   │   ├── OptionError        a command line option or ini key
│   │   └── AxisError          an axis of a search, or a field of a configuration patch
│   ├── RepositoryError        the model repository on disk
│   │   ├── ModelNotFound
│   │   └── ConfigurationError config.pbtxt cannot be read (line and column)
│   ├── ServerError            the server
│   │   ├── ServerUnavailable  it cannot be started here: what is missing
│   │   ├── ServerStartError   it was started and did not become ready
│   │   ├── ServerDied         it ended on its own
│   │   ├── LoadNotAllowed     it serves what it serves, and loads nothing for us
│   │   ├── ModelLoadError     Triton refused the model or its configuration
│   │   └── RequestError       Triton answered a request with an error
│   ├── InputError             request tensors cannot be made
│   ├── UnusableReference      what outputs are compared with has no answer, or none that stays the same
│   ├── EngineError            the load generator
│   └── MeasurementError       a measurement that says nothing about the model
└── AssertionError
    └── SLOViolation           a valid measurement missed a bound

Every error pickles, so that it crosses process borders.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any


class PytestTritonError(Exception):
    """Say what happened, to which model and configuration, and what to do next.

    ``problem`` is one sentence that stands alone: it becomes pytest's short summary line. ``hint``
    says what to do next. ``details`` are lines of evidence (a log's tail, a list of names).
    """

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        model: str = "",
        configuration: str = "",
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.model = model
        self.configuration = configuration
        self.details = tuple(details)

    def __str__(self) -> str:
        lines = [self.problem]
        if self.model:
            lines.append(f"  model: {self.model}" + (f" [{self.configuration}]" if self.configuration else ""))
        lines += [f"  | {line}" for line in self.details]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[PytestTritonError], args: tuple[Any, ...], state: dict[str, Any]) -> PytestTritonError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(PytestTritonError):
    """Something the user wrote cannot be meant."""


class QuantityError(UsageError):
    """A number with a unit cannot be read, or lacks its unit."""


class MarkerError(UsageError):
    """A marker has an unknown, missing or impossible argument."""


class OptionError(UsageError):
    """A command line option or ini key has an impossible value."""


class AxisError(UsageError):
    """A search axis or a patched field is not one of ``ModelConfig``, or refuses its value."""


class RepositoryError(PytestTritonError):
    """The model repository on disk is not one, or cannot be written."""


class ModelNotFound(RepositoryError):
    """The repository has no such model, or the model has no version."""


class ConfigurationError(RepositoryError):
    """A config.pbtxt cannot be read. ``line`` and ``column`` count from 1; 0 where unknown."""

    def __init__(self, problem: str, *, line: int = 0, column: int = 0, **context: Any) -> None:
        super().__init__(problem, **context)
        self.line = line
        self.column = column


class ServerError(PytestTritonError):
    """The server, or what it said."""


class ServerUnavailable(ServerError):
    """No server of this kind can be started here; the message names what is missing."""


class ServerStartError(ServerError):
    """A server was started and did not become ready; ``details`` hold the log's telling lines."""


class ServerDied(ServerError):
    """The server ended on its own; ``details`` hold the log's last lines."""


class LoadNotAllowed(ServerError):
    """A server was started without explicit model control, so that what it serves is all that can be measured."""


class ModelLoadError(ServerError):
    """Triton refused to load a model. ``reason`` is Triton's own sentence."""

    def __init__(self, problem: str, *, reason: str = "", **context: Any) -> None:
        super().__init__(problem, **context)
        self.reason = reason


class RequestError(ServerError):
    """Triton answered a single inference with an error."""


class InputError(PytestTritonError):
    """The tensors of a request cannot be made: a free dimension without a shape, a wrong data type."""


class UnusableReference(PytestTritonError):
    """What outputs are compared with has no answer, or none that stays the same.

    ``again`` is set where it has been raised before for the same search, so that it need be told no second time.
    """

    again = False

    def told_again(self) -> UnusableReference:
        """Return the same error, as one that has been raised before."""
        other = copy.copy(self)
        other.again = True
        return other


class EngineError(PytestTritonError):
    """The load generator cannot do this load, or ended on its own."""


class MeasurementError(PytestTritonError):
    """A measurement is not valid, so it says nothing about the model. Never a missed SLO."""


class SLOViolation(AssertionError):
    """A valid measurement missed a bound of its SLO. The first line of the message stands alone."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant: ``"did you mean 'p99'?"``, or list them all."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid names: " + ", ".join(names)
