"""Contenders meet in rounds, each in random order, until their contest is settled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_triton.blocks import Bout, Side
from pytest_triton.search.contest import Contest

Watch = Callable[[int, int], None]
"""Is told how many blocks of how many are done."""


@dataclass(slots=True)
class Rounds:
    """The rounds of one contest; ``sides`` are its contenders, in its order.

    In a round each contender that is left has one block, all with the same arrivals. The order is drawn from ``seed``.
    (Randomized multiple interleaved trials: Abedi & Brecht, ICPE 2017.)
    """

    contest: Contest
    sides: Sequence[Side]
    bout: Bout
    watch: Watch | None = None
    seed: int = 0
    _order: random.Random = field(init=False)
    _rounds: int = 0
    _blocks: int = 0

    def __post_init__(self) -> None:
        self._order = random.Random(self.seed)

    def play(self, patience: float) -> None:
        """Go on from look to look until nothing that matters is open, or until the next look is too far away.

        That is so when it would come later than ``patience`` seconds after the beginning.
        """
        began = time.monotonic()
        looks = self.contest.looks
        for number, look in enumerate(looks):
            self.reach(look, self.contest.active)
            self.contest.drop()
            if self.contest.settled() or number + 1 == len(looks):
                return
            spent = time.monotonic() - began
            ahead = (looks[number + 1] - look) * len(self.contest.active) * spent / max(self._blocks, 1)
            if number > 0 and spent + ahead > patience:
                return

    def complete(self, number: int, rounds: int) -> None:
        """Let a contender that was dropped meet the first one again, until both have been in so many rounds."""
        missing = rounds - len(self.contest.values[number])
        if missing > 0:
            self.reach(self._rounds + missing, [0, number])

    def reach(self, rounds: int, contenders: Sequence[int]) -> None:
        """Let the contenders with these numbers meet until there were so many rounds in all."""
        total = self._blocks + (rounds - self._rounds) * len(contenders)
        for place in range(self._rounds, rounds):
            turn = list(contenders)
            self._order.shuffle(turn)
            for number in turn:
                self.contest.values[number][place] = self.sides[number].take_turn(self.bout, self.seed + place)
                self._blocks += 1
                if self.watch is not None:
                    self.watch(self._blocks, total)
        self._rounds = rounds
