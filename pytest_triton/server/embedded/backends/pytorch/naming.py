"""Which input and output of the configuration is which of the model's: TorchScript's have no names, or not all.

Inputs go by the names of ``forward``'s arguments if all of them are such names; else by the index after a double
underscore, as in ``INPUT__0``, if all of them have one; else by their order in the configuration. Outputs go by index
or by order. So does the official backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..common.refusal import RefusalError
from ..common.validation import list_controls

_INDEXED = re.compile(r"(?:(?!__).)*__(\d*)")


def place_inputs(config: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, int]:
    """Return the position among ``arguments`` of each input, also of those that a scheduler adds.

    Raises ``RefusalError`` when two have the same, or one has none.
    """
    names = [entry["name"] for entry in config.get("input", ())]
    added = [name for entry in config.get("batch_input", ()) for name in entry["target_name"]]
    added += [control["name"] for control in list_controls(config)]
    every = [*names, *added]
    if all(name in arguments for name in names):
        places = {name: arguments.index(name) if name in arguments else -1 for name in every}
    else:
        indices = _read_indices(names)
        places = dict(zip(every, range(len(every)), strict=True)) if indices is None else _place_all(every)
    for name, place in places.items():
        if not 0 <= place < len(arguments):
            raise RefusalError(
                f"unable to load model '{config['name']}', input '{name}' is not one of the model's"
                f" {len(arguments)}: {', '.join(arguments)}"
            )
    if len(set(places.values())) < len(places):
        raise RefusalError(f"unable to load model '{config['name']}', two of {', '.join(every)} have the same index")
    return places


def place_outputs(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the position of each output among what the model returns, which is not known before it has run."""
    names = [entry["name"] for entry in config["output"]]
    return dict(zip(names, _read_indices(names) or range(len(names)), strict=True))


def _read_indices(names: Sequence[str]) -> list[int] | None:
    """Return the index in each name, None if one has none."""
    found = [_INDEXED.fullmatch(name) for name in names]
    indices = [int(match[1] or 0) for match in found if match is not None]
    return indices if len(indices) == len(names) else None


def _place_all(names: Sequence[str]) -> dict[str, int]:
    """Return the index in each name, -1 where there is none."""
    return {name: (_read_indices([name]) or [-1])[0] for name in names}
