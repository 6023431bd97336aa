"""Numbers with units: what is read, what is refused, what a person sees."""

import math

import pytest

from pytest_triton.errors import QuantityError
from pytest_triton.quantities import Unit, parse, show, show_interval


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("25ms", Unit.SECONDS, 0.025),
        (" 25 ms ", Unit.SECONDS, 0.025),
        ("1.5s", Unit.SECONDS, 1.5),
        (".5s", Unit.SECONDS, 0.5),
        ("1e3us", Unit.SECONDS, 1e-3),
        ("250µs", Unit.SECONDS, 250e-6),
        ("2min", Unit.SECONDS, 120.0),
        ("10m", Unit.SECONDS, 600.0),
        ("400/s", Unit.PER_SECOND, 400.0),
        ("1.2 k/s", Unit.PER_SECOND, 1200.0),
        ("90/min", Unit.PER_SECOND, 1.5),
        ("0.1%", Unit.FRACTION, 0.001),
        ("250%", Unit.FRACTION, 2.5),
        ("2GiB", Unit.BYTES, 2.0 * 2**30),
        ("1kB", Unit.BYTES, 1000.0),
        ("250W", Unit.WATTS, 250.0),
        ("500 mJ", Unit.JOULES, 0.5),
        ("1 Wh", Unit.JOULES, 3600.0),
        ("1.5GHz", Unit.HERTZ, 1.5e9),
        (8, Unit.COUNT, 8.0),
        ("8", Unit.COUNT, 8.0),
        (0, Unit.SECONDS, 0.0),
        ("0", Unit.FRACTION, 0.0),
    ],
)
def test_quantities_are_read(text: object, unit: Unit, value: float) -> None:
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "complaint"),
    [
        (25, Unit.SECONDS, "25 has no unit"),
        ("25", Unit.SECONDS, "'25' has no unit"),
        ("25 parsecs", Unit.SECONDS, "unknown unit 'parsecs'; units here: ns, us"),
        ("25 MS", Unit.SECONDS, "unknown unit 'MS'"),
        ("25ms", Unit.COUNT, "units here: none"),
        ("25ms", Unit.BYTES, "unknown unit 'ms'"),
        ("250", Unit.WATTS, "'250' has no unit"),
        ("0.5W", Unit.JOULES, "unknown unit 'W'; units here: uJ"),
        ("-1ms", Unit.SECONDS, "at least 0"),
        (-1, Unit.COUNT, "at least 0"),
        ("1e400s", Unit.SECONDS, "finite"),
        (10**400, Unit.COUNT, "finite"),
        (math.nan, Unit.COUNT, "finite"),
        (math.inf, Unit.COUNT, "finite"),
        ("inf s", Unit.SECONDS, "not a quantity"),
        ("ms", Unit.SECONDS, "not a quantity"),
        ("", Unit.SECONDS, "not a quantity"),
        ("1,5ms", Unit.SECONDS, "unknown unit"),
        (None, Unit.SECONDS, "None is not a quantity"),
        (True, Unit.COUNT, "True is not a quantity"),
        ([25], Unit.SECONDS, "not a quantity"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_out(text: object, unit: Unit, complaint: str) -> None:
    with pytest.raises(QuantityError, match=r".") as caught:
        parse(text, unit)
    assert complaint in caught.value.problem
    assert "write" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0253, Unit.SECONDS, "25.3 ms"),
        (1.5, Unit.SECONDS, "1.50 s"),
        (0.9999999, Unit.SECONDS, "1.00 s"),
        (0.000123, Unit.SECONDS, "123.0 us"),
        (3e-9, Unit.SECONDS, "3.00 ns"),
        (0.0, Unit.SECONDS, "0 s"),
        (-0.005, Unit.SECONDS, "-5.00 ms"),
        (412.34, Unit.PER_SECOND, "412.3/s"),
        (12345.6, Unit.PER_SECOND, "12,346/s"),
        (0.001, Unit.FRACTION, "0.100 %"),
        (3 * 2**30, Unit.BYTES, "3.00 GiB"),
        (512, Unit.BYTES, "512 B"),
        (251.26, Unit.WATTS, "251.3 W"),
        (0.0, Unit.WATTS, "0 W"),
        (0.00312, Unit.JOULES, "3.12 mJ"),
        (1.98e9, Unit.HERTZ, "1.98 GHz"),
        (None, Unit.SECONDS, "-"),
        (math.nan, Unit.SECONDS, "-"),
        (math.inf, Unit.SECONDS, "inf"),
    ],
)
def test_quantities_are_shown_with_telling_digits(value: float | None, unit: Unit, shown: str) -> None:
    assert show(value, unit) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0253, 0.0261, "25.3 ms to 26.1 ms"),
        (0.0253, None, "25.3 ms or more"),
        (None, 0.0261, "up to 26.1 ms"),
        (None, None, "-"),
    ],
)
def test_intervals_say_what_is_not_known(low: float | None, high: float | None, shown: str) -> None:
    assert show_interval(low, high, Unit.SECONDS) == shown


@pytest.mark.parametrize("value", [1.5, 0.0253, 250e-6, 60.0])
def test_what_is_shown_can_be_read_again(value: float) -> None:
    assert parse(show(value, Unit.SECONDS), Unit.SECONDS) == pytest.approx(value, rel=0.01)
