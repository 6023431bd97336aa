"""The terminal's lines at the end."""

from __future__ import annotations

import pytest

from pytest_triton.report.summary import early
from pytest_triton.results.record import Record


def judged(verdict: str, **effort: float) -> Record:
    """A record of a measurement that took so long."""
    return Record("t", "k", "m", {}, {}, {}, verdict, effort=effort)


SOON, LATE = {"seconds": 3.0, "limit": 60.0}, {"seconds": 60.2, "limit": 60.0}


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ([judged("PASS", **SOON)], "1 measurement was decided early: 3.0 s of load instead of 60 s"),
        (
            [judged("PASS", **SOON), judged("FAIL", **SOON), judged("INCONCLUSIVE", **LATE)],
            "2 of 3 measurements were decided early: 66 s of load instead of 180 s",
        ),
        (
            [judged("PASS", **SOON), judged("PASS", **LATE)],
            "1 of 2 measurements were decided early: 63 s of load instead of 120 s",
        ),
        # What ended early without a verdict saved nothing, and without bounds there was none to wait for.
        ([judged("INCONCLUSIVE", **SOON)], None),
        ([judged("ERROR", **SOON)], None),
        ([judged("PASS", seconds=2.0), judged("PASS")], None),
        ([judged("PASS", **LATE)], None),
        ([], None),
    ],
)
def test_what_early_verdicts_saved(records: list[Record], line: str | None) -> None:
    assert early(records) == ([line] if line is not None else [])
