"""Import the library that a backend runs models with."""

from __future__ import annotations

import importlib
from typing import Any

from .refusal import RefusalError


def import_library(name: str, mark: str, install: str) -> Any:
    """Import the module ``name`` and check that it has the attribute ``mark``.

    A backend's folder is called like its library and lies in a folder on ``sys.path`` in some set-ups; what is found
    then is an empty namespace package. Raises ``RefusalError`` that says how to ``install`` it.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise _missing(name, install) from error
        raise _broken(name, error) from error
    except (ImportError, OSError) as error:
        raise _broken(name, error) from error
    if not hasattr(module, mark):
        raise _missing(name, install)
    return module


def _missing(name: str, install: str) -> RefusalError:
    return RefusalError(f"No module named '{name}', which runs the models of this backend: {install}")


def _broken(name: str, error: Exception) -> RefusalError:
    return RefusalError(f"{name} cannot be imported by the interpreter that models run in: {error}")
