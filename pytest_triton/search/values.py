"""Values of an axis that need not be written one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, overload

from pytest_triton.errors import UsageError

MOST = 10_000
"""Values that one axis may have."""


class _Values(Sequence[Any]):
    """Numbers in ascending order, made when they are asked for."""

    __slots__ = ("_values", "_written")

    def __init__(self, written: str, values: Iterator[Any]) -> None:
        self._written = written
        self._values = tuple(values)

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._values[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Values) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return self._written


class Range(_Values):
    """The numbers from ``first`` to ``last``, both included, ``step`` apart: ``Range(1, 5)`` is 1, 2, 3, 4, 5.

    Where the steps do not meet ``last``, they end below it. Raises ``UsageError`` for ends or a step that cannot be
    meant.
    """

    __slots__ = ()

    def __init__(self, first: float, last: float, step: float = 1) -> None:
        written = f"Range({first!r}, {last!r}{'' if step == 1 else f', {step!r}'})"
        if not all(map(_is_number, (first, last, step))) or not first <= last or step <= 0:
            raise UsageError(f"{written} is no range", hint="write Range(first, last), or Range(first, last, step)")
        # Rounding must not cost the last one: Range(0.1, 0.3, 0.1).
        steps = math.floor((last - first) / step + 1e-9)
        _check_count(written, steps + 1)
        super().__init__(written, (_rounded(first + number * step) for number in range(steps + 1)))


class Powers(_Values):
    """The powers of ``base`` from ``first`` to ``last``, both included: ``Powers(1, 8)`` is 1, 2, 4, 8.

    An end that is no power itself is not among them. Raises ``UsageError`` for ends or a base that cannot be meant,
    and where there is no power between the ends.
    """

    __slots__ = ()

    def __init__(self, first: int, last: int, base: int = 2) -> None:
        written = f"Powers({first!r}, {last!r}{'' if base == 2 else f', {base!r}'})"
        hint = "write Powers(1, 128) for 1, 2, 4 ... 128, or Powers(1, 1000, base=10)"
        if not all(_is_number(end) and isinstance(end, int) for end in (first, last, base)):
            raise UsageError(f"{written}: ends and base are whole numbers", hint=hint)
        if not 1 <= first <= last or base < 2:
            raise UsageError(f"{written} holds no power", hint=hint)
        powers = [1]
        while powers[-1] * base <= last:
            powers.append(powers[-1] * base)
        powers = [power for power in powers if power >= first]
        if not powers:
            raise UsageError(f"there is no power of {base} in {written}", hint=hint)
        super().__init__(written, iter(powers))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.12g}")


def _check_count(written: str, count: int) -> None:
    if count > MOST:
        raise UsageError(f"{written} holds {count:,} values", hint=f"name at most {MOST:,}: a larger step, or Powers")
