"""Who wins a contest, on simulated rounds whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_triton.search.contest import LOOKS, MARGIN, Contest
from pytest_triton.search.objective import objective

THROUGHPUT, P99 = objective("throughput"), objective("p99")


def play(
    truth: Sequence[float], costs: Sequence[int], *, noise: float = 0.02, seed: int = 0, name: str = "throughput"
) -> tuple[Contest, int]:
    """Play a contest of contenders with these true values; return it with the number of rounds that it took."""
    rng = random.Random(seed)
    contest = Contest(objective(name), costs)
    for look in contest.looks:
        for number in range(len(contest.values[0]), look):
            common = rng.gauss(0, 5 * noise)
            for contender in contest.active:
                value = truth[contender] * (1 + common + rng.gauss(0, noise))
                contest.values[contender][number] = value
        contest.drop()
        if contest.settled():
            return contest, look
    return contest, contest.looks[-1]


def test_a_clear_leader_needs_eight_rounds_and_the_clearly_beaten_fewer() -> None:
    contest, rounds = play([100, 150, 100], [2, 3, 1])
    assert rounds == LOOKS[1]
    assert contest.order() == [1, 2]
    assert contest.beaten_by == {2: 1}
    assert len(contest.values[2]) == LOOKS[0]
    gain = contest.gain(1)
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < 0.5 < gain.high < gain.low + 0.2


def test_a_tie_goes_to_the_cheapest_and_is_said_to_be_one() -> None:
    contest, _ = play([100, 150, 150.5, 149.5], [1, 3, 4, 2], noise=0.005)
    assert contest.order()[0] == 3
    assert sorted(contest.ties()) == [1, 2]


def test_of_those_that_cost_the_same_the_best_wins_a_tie() -> None:
    contest, _ = play([100, 150, 155, 145], [1, 3, 3, 3], noise=0.1)
    assert sorted(contest.ties()) != []
    assert contest.order()[0] == 2


def test_what_is_cheaper_and_worse_by_more_than_the_margin_is_no_tie() -> None:
    contest, rounds = play([100, 150, 150 * (1 - 3 * MARGIN)], [1, 3, 2], noise=0.03)
    assert contest.order()[0] == 1
    assert contest.ties() == []
    assert rounds <= LOOKS[-1]


def test_the_last_finalist_stays_when_the_default_beats_it() -> None:
    contest, _ = play([100, 50, 60], [1, 2, 2])
    assert contest.active == [0, 2]
    gain = contest.gain(2)
    assert gain.high is not None
    assert gain.high < 0


def test_of_latency_the_lowest_wins() -> None:
    contest, _ = play([0.020, 0.010, 0.015], [1, 1, 1], name="p99")
    assert contest.order() == [1, 2]
    assert contest.gain(1).value == pytest.approx(0.5, abs=0.05)


def test_noise_that_hides_everything_settles_nothing() -> None:
    contest, rounds = play([100, 104, 103], [1, 3, 2], noise=0.4)
    assert rounds == LOOKS[-1]
    assert not contest.settled()
    assert contest.beaten_by == {}
    # So the cheapest wins, by whatever the others seem to lead.
    assert contest.order()[0] == 2


def test_a_single_round_leaves_all_as_they_are() -> None:
    contest = Contest(THROUGHPUT, [1, 2, 2], (1,))
    for number, value in enumerate((100.0, 120.0, 110.0)):
        contest.values[number][0] = value
    contest.drop()
    assert contest.order() == [1, 2]
    assert not contest.settled()
    assert contest.gain(1).low is None


def test_the_best_is_hardly_ever_dropped_and_gains_lie_in_their_intervals() -> None:
    """Both errors are held to 5 %; here noise hides by how much the best one leads."""
    dropped = outside = 0
    runs = 300
    for seed in range(runs):
        contest, _ = play([100, 101, 100.5, 100.5], [1, 4, 3, 2], noise=0.1, seed=seed)
        dropped += 1 in contest.beaten_by
        gain = contest.gain(1)
        # Contenders that were dropped early have too few rounds for an interval.
        outside += gain.low is not None and gain.high is not None and not gain.low <= 0.01 <= gain.high
    assert dropped <= 0.05 * runs
    assert outside <= 0.05 * runs
