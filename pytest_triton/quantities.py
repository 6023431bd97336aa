"""Numbers with units, at the edges: ``"25ms"`` <-> 0.025.

Inside, everything is seconds, bytes, events per second, watts, joules, hertz and fractions, as plain floats.
"""

from __future__ import annotations

import enum
import math
import re
import sys

from pytest_triton.errors import QuantityError

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*?)?\s*")


class Unit(enum.Enum):
    """What a metric or a setting is counted in."""

    SECONDS = "s"
    PER_SECOND = "/s"
    FRACTION = "%"
    BYTES = "B"
    WATTS = "W"
    JOULES = "J"
    HERTZ = "Hz"
    COUNT = ""


_FACTORS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0},
    Unit.PER_SECOND: {"/s": 1.0, "/min": 1 / 60, "k/s": 1e3, "M/s": 1e6},
    Unit.FRACTION: {"%": 0.01},
    Unit.BYTES: {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
        "TiB": 2.0**40,
    },
    Unit.WATTS: {"mW": 1e-3, "W": 1.0, "kW": 1e3},
    Unit.JOULES: {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0},
    Unit.HERTZ: {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    Unit.COUNT: {"": 1.0},
}
_SHOWN: dict[Unit, tuple[tuple[float, str], ...]] = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    Unit.WATTS: ((1e3, "kW"), (1.0, "W"), (1e-3, "mW")),
    Unit.JOULES: ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")),
    Unit.HERTZ: ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")),
}
"""The units that quantities are shown in, the largest first."""
_EXAMPLES = {
    Unit.SECONDS: "'25ms'",
    Unit.PER_SECOND: "'400/s'",
    Unit.FRACTION: "'0.1%'",
    Unit.BYTES: "'2GiB'",
    Unit.WATTS: "'250W'",
    Unit.JOULES: "'0.5J'",
    Unit.HERTZ: "'1.5GHz'",
    Unit.COUNT: "8",
}


def parse(text: object, unit: Unit) -> float:
    """Read a quantity of ``unit``: ``parse("25ms", Unit.SECONDS) == 0.025``.

    A bare number is accepted only where there is no unit (``COUNT``), or where it is 0.
    Raises ``QuantityError`` naming the text, the units it may have and an example.
    """
    factors = _FACTORS[unit]
    wanted = f"write it with a unit, as in {_EXAMPLES[unit]}" if unit is not Unit.COUNT else "write a plain number"
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise QuantityError(f"{text!r} is not a quantity", hint=wanted)
    if not isinstance(text, str):
        if unit is Unit.COUNT or text == 0:
            # Python's integers have no limit, floats do; beyond it, float() does not give infinity but raises.
            return _finite(math.inf if abs(text) > sys.float_info.max else float(text), text, wanted)
        raise QuantityError(f"{text!r} has no unit", hint=wanted)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise QuantityError(f"{text!r} is not a quantity", hint=wanted)
    number, suffix = float(match[1]), match[2] or ""
    if not suffix and number == 0:
        return 0.0
    if not suffix and unit is not Unit.COUNT:
        raise QuantityError(f"{text!r} has no unit", hint=wanted)
    if suffix not in factors:
        units = ", ".join(name for name in factors if name) or "none"
        raise QuantityError(f"{text!r} has an unknown unit {suffix!r}; units here: {units}", hint=wanted)
    return _finite(number * factors[suffix], text, wanted)


def _finite(value: float, text: object, hint: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise QuantityError(f"{text!r} must be a finite number, at least 0", hint=hint)
    return value


def show(value: float | None, unit: Unit) -> str:
    """Write a quantity for a person, with three to four telling digits: ``show(0.0253, SECONDS) == "25.3 ms"``."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if unit in _SHOWN:
        if value == 0:
            return f"0 {unit.value}"
        # 999.96 ms would be shown as 1,000.0 ms.
        factor, name = next((pair for pair in _SHOWN[unit] if abs(value) >= 0.99995 * pair[0]), _SHOWN[unit][-1])
        return f"{_digits(value / factor)} {name}"
    if unit is Unit.PER_SECOND:
        return f"{_digits(value)}/s"
    if unit is Unit.FRACTION:
        return f"{_digits(value * 100)} %"
    if unit is Unit.BYTES:
        for exponent, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if abs(value) >= 2**exponent:
                return f"{_digits(value / 2**exponent)} {name}"
        return f"{value:.0f} B"
    return _digits(value)


def show_interval(low: float | None, high: float | None, unit: Unit) -> str:
    """Write an interval: ``25.3 ms to 26.1 ms``; ``25.3 ms or more`` where nothing is known of its upper end."""
    if low is None and high is None:
        return "-"
    if high is None:
        return f"{show(low, unit)} or more"
    return f"up to {show(high, unit)}" if low is None else f"{show(low, unit)} to {show(high, unit)}"


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    size = float(f"{abs(value):.3g}")  # 9.999 is shown with the decimals of 10
    decimals = 0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{decimals}f}"
