"""Candidates that Optuna's samplers propose, one after the other, for spaces too large to be measured whole.

A study is asked for a candidate and told what came of it. The bounds of the SLO are its constraints, the objectives
its directions. Optuna is imported here only, and only when a search wants it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pytest_triton.case import digest
from pytest_triton.errors import OptionError, PytestTritonError
from pytest_triton.metrics import Better
from pytest_triton.search.selection import Result
from pytest_triton.search.settings import Settings
from pytest_triton.search.space import Space, SpacePoint
from pytest_triton.search.strategies.storage import check_installed, hide_password, open_storage
from pytest_triton.slo import SLO

if TYPE_CHECKING:
    import optuna

_MOST_ASKS = 10
"""Proposals in a row that were measured before, until the next candidate is taken that was not."""
_MOST_LOOKS = 200_000
_ID, _RUN, _CONSTRAINTS = "candidate", "run", "constraints"
_VIOLATED = 1.0


class StudyError(PytestTritonError):
    """A study of Optuna's cannot be opened, or lost."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a study is told of a candidate: the objectives' values (None: nothing was measured), and its constraints.

    A constraint is kept where it is not above 0; they are in the order of the SLO's bounds.
    """

    values: tuple[float, ...] | None
    constraints: tuple[float, ...] = ()

    @classmethod
    def of(cls, result: Result, settings: Settings, slo: SLO) -> Told:
        """Say what a result means to a study."""
        values = [result.value(each) for each in settings.objectives]
        known = tuple(value.value for value in values if value is not None and math.isfinite(value.value))
        constraints = []
        for bound in slo.bounds:
            estimate = result.metrics.get(bound.metric.name)
            beyond = (
                _VIOLATED if estimate is None else estimate.value / bound.limit - 1 if bound.limit else estimate.value
            )
            beyond = min(beyond, _VIOLATED)
            constraints.append(beyond if bound.direction is Better.LOWER or estimate is None else -beyond)
        return cls(known if len(known) == len(values) else None, tuple(constraints))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate that is to be measured, and the trial that will be told of it."""

    point: SpacePoint
    trial: optuna.Trial


@dataclass(slots=True)
class Proposals:
    """What a study proposes out of ``space`` to one process of a run.

    Processes, and runs, that use the same ``storage`` share a study: of one model, space, SLO and objectives. Without
    one it lives as long as this object.
    """

    space: Space
    settings: Settings
    slo: SLO
    model: str
    run: str = ""
    storage: str | None = None
    worker: int = 0
    _study: optuna.Study = field(init=False)
    _shared: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        check_installed()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._opening(), _quietly():
            self._study = optuna.create_study(
                study_name=self.name,
                storage=open_storage(self.storage),
                sampler=make_sampler(self.settings, self.slo, seed=self.settings.seed + self.worker),
                directions=[
                    "maximize" if each.better is Better.HIGHER else "minimize" for each in self.settings.objectives
                ],
                load_if_exists=True,
            )

    @property
    def name(self) -> str:
        """The study's name: the model's, and a digest of all that its trials have in common."""
        axes = [[axis.path, *axis.labels] for axis in self.space.axes]
        return f"{self.model}-{digest([axes, self.slo.as_dict(), [each.name for each in self.settings.objectives]])}"

    def ask(self, known: Mapping[str, Told]) -> Proposal | None:
        """Return the next candidate, or None when every one of the space was tried.

        ``known`` is what this run knows already, by candidates' ids: proposed again, they are answered from that.
        """
        with self._opening(), _quietly():
            self._remember(known)
            under_way = self._under_way()
            for _ in range(_MOST_ASKS):
                trial = self._study.ask()
                choice = self._suggest(trial)
                point = self.space.point(choice)
                if point.id in known:
                    self._tell(trial, point, known[point.id])
                elif point.id in under_way or self.space.left_out(choice, point) is not None:
                    self._tell(trial, point, Told(None))
                else:
                    return self._propose(trial, point)
            following = next(self._untried({*known, *under_way}), None)
            if following is None:
                return None
            self._study.enqueue_trial(following)
            trial = self._study.ask()
            return self._propose(trial, self.space.point(self._suggest(trial)))

    def tell(self, proposal: Proposal, told: Told) -> None:
        """Let the study know what came of a candidate."""
        with self._opening(), _quietly():
            self._tell(proposal.trial, proposal.point, told)

    def _propose(self, trial: optuna.Trial, point: SpacePoint) -> Proposal:
        trial.set_user_attr(_ID, point.id)
        trial.set_user_attr(_RUN, self.run)
        return Proposal(point, trial)

    def _tell(self, trial: optuna.Trial, point: SpacePoint, told: Told) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr(_ID, point.id)
        trial.set_user_attr(_CONSTRAINTS, told.constraints)
        self._shared.add(point.id)
        if told.values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(told.values))

    def _remember(self, known: Mapping[str, Told]) -> None:
        """Tell a study of this process's own what an earlier run has measured."""
        if self.storage is not None:
            return
        from optuna.trial import create_trial

        for name, told in known.items():
            choice = self.space.choice(name)
            if name in self._shared or choice is None or told.values is None:
                continue
            self._shared.add(name)
            distributions = {path: self._distribution(path) for path in self._varied(choice)}
            trial = create_trial(
                values=list(told.values),
                params={path: choice[path] for path in distributions},
                distributions=distributions,
                user_attrs={_ID: name, _CONSTRAINTS: told.constraints},
                system_attrs={"constraints": told.constraints} if self.slo.bounds else {},
            )
            self._study.add_trial(trial)

    def _under_way(self) -> set[str]:
        """Return what other processes of this run measure now."""
        from optuna.trial import TrialState

        if self.storage is None:
            return set()
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {each.user_attrs[_ID] for each in running if each.user_attrs.get(_RUN) == self.run}

    def _untried(self, taken: set[str]) -> Iterator[dict[str, int]]:
        for choice in itertools.islice(self.space.choices(), _MOST_LOOKS):
            point = self.space.point(choice)
            if point.id not in taken and self.space.left_out(choice, point) is None:
                yield {path: choice[path] for path in self._varied(choice)}

    def _varied(self, choice: Mapping[str, int]) -> list[str]:
        """Return the axes, outer ones first, that a combination chooses a value of."""
        return [axis.path for axis in self._axes() if len(axis.values) > 1 and self.space.matters(axis, choice)]

    def _axes(self) -> list[Any]:
        return sorted(self.space.axes, key=lambda axis: axis.path.count("."))

    def _suggest(self, trial: optuna.Trial) -> dict[str, int]:
        choice: dict[str, int] = {}
        for axis in self._axes():
            if not self.space.matters(axis, choice):
                continue
            choice[axis.path] = 0
            last = len(axis.values) - 1
            if last and axis.ascending:
                # So that values next to each other are taken for alike.
                choice[axis.path] = trial.suggest_int(axis.path, 0, last)
            elif last:
                choice[axis.path] = trial.suggest_categorical(axis.path, list(range(last + 1)))
        return choice

    def _distribution(self, path: str) -> Any:
        """Return what an axis's values are chosen from, as ``_suggest`` does."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        axis = next(axis for axis in self.space.axes if axis.path == path)
        last = len(axis.values) - 1
        return IntDistribution(0, last) if axis.ascending else CategoricalDistribution(list(range(last + 1)))

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Name the storage in whatever goes wrong with it."""
        try:
            yield
        except PytestTritonError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise StudyError(
                f"the study in {hide_password(self.storage or 'memory')} cannot be used: {reason}",
                hint="storage= is a URL as in sqlite:///study.db or postgresql://user@host/name, or a journal's path.",
                model=self.model,
            ) from error


def make_sampler(settings: Settings, slo: SLO, *, seed: int) -> Any:
    """Return the sampler that the settings name. Raises ``OptionError`` when it needs what is not installed."""
    import optuna

    constraints = _constraints if slo.bounds else None
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    first = max(4, min(10, (settings.trials or 50) // 3))
    if settings.sampler == "gp":
        if find_spec("torch") is None:
            raise OptionError(
                "sampler='gp' needs PyTorch, which is not installed", hint="pip install torch, or write sampler='tpe'."
            )
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=first, constraints_func=constraints)
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=first,
        multivariate=True,
        group=True,
        constant_liar=True,
        constraints_func=constraints,
    )


def _constraints(trial: optuna.trial.FrozenTrial) -> tuple[float, ...]:
    return tuple(trial.user_attrs.get(_CONSTRAINTS, ()))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what Optuna says of its experimental arguments to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
