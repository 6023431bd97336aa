"""Windows joined and cut: every column goes with its requests."""

from dataclasses import fields, replace

import numpy as np
import pytest
from traces import MS, open_loop, stream

from pytest_triton.observation import Trace
from pytest_triton.series import first_responses, inter_responses
from pytest_triton.windows import merge, trim

FIRST = replace(
    stream([(0, [5, 7, 10]), (10, [12])], window=(0, 20)),
    request=np.array([0, 1], dtype=np.int32),
    sequence=np.array([7, 7], dtype=np.int64),
)
SECOND = replace(
    stream([(20, [21, 29]), (30, []), (31, [39])], failed=[1], window=(20, 40)),
    request=np.array([0, 1, 0], dtype=np.int32),
    sequence=np.array([8, 8, 9], dtype=np.int64),
)


def later(trace: Trace, by_ms: int) -> Trace:
    by, times = by_ms * MS, ("scheduled", "sent", "first_response", "done", "response_at")
    moved = {name: getattr(trace, name) + by for name in times}
    return replace(trace, **moved, started_ns=trace.started_ns + by, ended_ns=trace.ended_ns + by)


@pytest.mark.parametrize("gap", [0, 500])
def test_streams_and_sequences_are_joined(gap: int) -> None:
    joined = merge([FIRST, later(SECOND, gap)])
    assert joined.seconds == pytest.approx(0.040)
    assert joined.windows == (2 if gap else 1)
    columns = {name: getattr(joined, name).tolist() for name in ("request", "sequence", "responses")}
    assert columns == {"request": [0, 1, 0, 1, 0], "sequence": [7, 7, 8, 8, 9], "responses": [3, 1, 2, 0, 1]}
    assert joined.response_at is not None
    assert (joined.response_at // MS).tolist() == [5, 7, 10, 12, 21, 29, 39]
    assert (inter_responses(joined) * 1e3).tolist() == pytest.approx([2, 3, 8])
    assert (first_responses(joined) * 1e3).tolist() == pytest.approx([5, 2, 1, np.inf, 8])


def test_what_no_window_has_the_whole_has_not() -> None:
    joined = merge([open_loop([0.0] * 5), open_loop([0.0] * 5)])
    assert (joined.request, joined.sequence, joined.responses, joined.response_at, joined.busiest) == (None,) * 5


def test_counts_of_an_open_loop_add_up() -> None:
    joined = merge([open_loop([0.0] * 5, unsent=2, busiest=0.1), open_loop([0.0] * 7, busiest=0.3)])
    assert (joined.offered, joined.dispatched, joined.concurrency) == (14, 12, 0)
    assert joined.busiest == pytest.approx(0.4)


def test_a_window_of_one_process_counts_with_all_of_it() -> None:
    joined = merge([replace(open_loop([0.0] * 5), cpu_seconds=0.2), open_loop([0.0] * 5, busiest=0.3)])
    assert joined.busiest == pytest.approx(0.5)


def test_one_window_stays_as_it_is() -> None:
    joined = merge([SECOND])
    for each in fields(Trace):
        one, other = getattr(joined, each.name), getattr(SECOND, each.name)
        assert np.array_equal(one, other) if isinstance(other, np.ndarray) else one == other


def test_trimming_keeps_each_request_s_responses() -> None:
    rest = trim(merge([FIRST, SECOND]), 15 * MS)
    assert rest.response_at is not None
    assert (rest.response_at // MS).tolist() == [21, 29, 39]
    assert [getattr(rest, name).tolist() for name in ("request", "sequence", "responses")] == [
        [0, 1, 0],
        [8, 8, 9],
        [2, 0, 1],
    ]


def test_trimming_takes_its_share_of_what_was_counted() -> None:
    rest = trim(open_loop([0.0] * 100, unsent=20, busiest=0.4), 495 * MS)
    assert rest.seconds == pytest.approx(0.505)
    assert (rest.offered, rest.dispatched) == (61, 50)
    assert rest.busiest == pytest.approx(0.4 * 0.505)
