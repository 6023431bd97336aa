"""A candidate's way onto a warm server: load, read back, check its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from pytest_triton.case import Candidate, Case, Value
from pytest_triton.errors import (
    MeasurementError,
    ModelLoadError,
    PytestTritonError,
    RequestError,
    ServerError,
    ServerStartError,
)
from pytest_triton.preparation import Preparation
from pytest_triton.repository.difference import unapplied
from pytest_triton.repository.patch import apply, problem
from pytest_triton.room import is_short
from pytest_triton.server.base import Server
from pytest_triton.server.control import serving
from pytest_triton.server.log import plain
from pytest_triton.server.options import SWITCH, Options, as_words
from pytest_triton.switching import changes_in_place, count_instances, needs_no_completion, runs_in_python
from pytest_triton.verification import Reference, Verified

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

LEAVE_WITHIN = 30.0
"""How long each step may take by which a server that is not ours is left as it was found, in seconds."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A candidate as the server has it now.

    ``name`` is what it is called there (an alias, perhaps).
    """

    candidate: Candidate
    name: str
    configuration: ModelConfig


def patched(default: ModelConfig, patch: Mapping[str, Value]) -> ModelConfig:
    """Return ``default``, as Triton completed it, with ``patch``.

    Triton fills in the largest batch as the preferred one; with another largest batch that would be refused.
    """
    wanted = apply(default, patch)
    batching = wanted.dynamic_batching
    if (
        "max_batch_size" in patch
        and wanted.HasField("dynamic_batching")
        and not any(path.startswith("dynamic_batching") for path in patch)
        and list(batching.preferred_batch_size) == [default.max_batch_size]
    ):
        batching.ClearField("preferred_batch_size")
    return wanted


@dataclass(slots=True)
class Deployer:
    """Puts candidates onto one running server and remembers what is there.

    The server is started anew where a candidate needs other options of ``tritonserver``, and before the first load of a
    complete configuration that it would complete in vain, which costs a second each time (see ``switching``).
    """

    server: Server
    _defaults: dict[str, ModelConfig] = field(default_factory=dict)
    _there: dict[str, tuple[ModelConfig, Deployment]] = field(default_factory=dict)
    _cold: dict[str, dict[str, float]] = field(default_factory=dict)
    _preparation: Preparation = field(init=False)
    _loaded_in: dict[str, float] = field(default_factory=dict)
    """Seconds that the last load of all instances took, by what is loaded."""
    _found: dict[str, ModelConfig] = field(default_factory=dict)
    """What a server that is not ours served before us."""

    def __post_init__(self) -> None:
        self._preparation = Preparation(self.server)

    def default(self, model: str) -> ModelConfig:
        """Return the model's own configuration, completed by Triton; loads the model the first time."""
        if model not in self._defaults:
            if self.server.kind == "remote":
                self._find(model)
            else:
                if self.server.options:
                    self.restart({})
                self._load(Candidate(model), model, None)
        return self._defaults[model]

    def _find(self, model: str) -> None:
        """Take what a server that is not ours serves already: it may not let us load, and others may be using it."""
        if self.server.control.model_ready(model):
            applied = self.server.control.configuration(model)
            self._defaults[model], self._cold[model] = applied, {}
            self._there[model] = applied, Deployment(Candidate(model), model, applied)
            # A copy: what is deployed may be changed by who asked for it.
            self._found[model] = patched(applied, {})
            return
        try:
            self._load(Candidate(model), model, None)
        except ServerError as error:
            error.details = (*error.details, f"it serves {', '.join(serving(self.server.control)) or 'no model'}")
            raise

    def _require_unchanged(self) -> None:
        """Raise ``MeasurementError`` where a server that is not ours does not serve any more what was left there."""
        for name, (_, deployment) in [*self._there.items()]:
            try:
                same = self.server.control.configuration(name) == deployment.configuration
            except RequestError:
                same = False
            if not same:
                for known in (self._there, self._found, self._defaults):
                    known.pop(name, None)
                raise MeasurementError(
                    f"{name}: the server does not serve the configuration any more that was there before",
                    model=name,
                    hint="Someone else loads models on it, or several servers share its address: measure one alone.",
                )

    def restart(self, options: Options | None = None, *, model: str = "") -> None:
        """Start the server anew, with other ``options`` of tritonserver if they are given. No model is loaded then.

        Raises ``ModelLoadError`` when it does not start with the options that ``model`` wants; it runs without them
        then.
        """
        options = self.server.options if options is None else options
        self._there.clear()
        self._preparation.forget()
        self._cold.clear()
        self._loaded_in.clear()
        try:
            self.server.restart(options)
        except ServerStartError as error:
            if not options:
                raise
            self.server.restart({})
            cause = plain(error.details[-1]) if error.details else error.problem
            reason = f"tritonserver does not start with {' '.join(as_words(options))}: {cause}"
            raise ModelLoadError(reason, reason=reason, model=model, details=error.details) from error

    def deploy(
        self, candidate: Candidate, *, name: str = "", unload_first: bool = False, fresh: bool = False
    ) -> Deployment:
        """Make the server serve ``candidate`` under ``name`` (its own by default) and read the result back.

        The models that it is served with get their configurations first. With ``unload_first``, or when memory is
        short, the model's configuration before it goes before this one comes, unless Triton changes it in place. With
        ``fresh`` it gets a server that was just started, unless it is there already.

        Raises ``ModelLoadError`` with Triton's reason when it refuses, ``MeasurementError`` when it serves
        something else than what was asked for.
        """
        name = name or candidate.model
        if self.server.kind == "remote":
            self._require_unchanged()
        others = self._served_with(candidate)
        wanted = {model: patched(self.default(model), patch) for model, patch in others.items()}
        wanted[name] = patched(self.default(candidate.model), candidate.patch)
        wanted[name].name = name
        for model, configuration in wanted.items():
            refusal = problem(configuration)
            if refusal:
                named = candidate.model if model == name else model
                raise ModelLoadError(f"{named}: {refusal}", model=named, reason=refusal)
        fresh = fresh and any(name not in self._there or self._there[name][0] != wanted[name] for name in wanted)
        self._arrange(candidate, [candidate.model, *others], fresh=fresh, hurry=self._would_load(wanted))
        for model, patch in others.items():
            self._switch(Candidate(model, patch), model, wanted[model], unload_first)
        return self._switch(candidate, name, wanted[name], unload_first)

    def steps(self, candidate: Candidate) -> list[ModelConfig]:
        """Return the configurations that the steps of an ensemble have in ``candidate``; none for another model."""
        steps = self._steps(candidate.model)
        return [patched(self.default(step), candidate.composing.get(step, {})) for step in steps]

    def _served_with(self, candidate: Candidate) -> dict[str, Mapping[str, Value]]:
        """Return the patches of the models that ``candidate`` is served with: an ensemble's steps, and those it names.

        A patch that another candidate gave one of them is taken back.
        """
        others: dict[str, Mapping[str, Value]] = {step: {} for step in self._steps(candidate.model)}
        others.update({model: {} for model in self._patched_beside(candidate)})
        others.update(candidate.composing)
        return others

    def _steps(self, model: str) -> list[str]:
        """Name the models that an ensemble calls, innermost first; none for another model."""
        steps: dict[str, None] = {}
        for step in self.default(model).ensemble_scheduling.step:
            steps.update(dict.fromkeys([*self._steps(step.model_name), step.model_name]))
        return list(steps)

    def _patched_beside(self, candidate: Candidate) -> list[str]:
        return [
            name
            for name, (_, there) in self._there.items()
            if there.candidate.model != candidate.model and there.candidate.patch and name == there.candidate.model
        ]

    def _would_load(self, wanted: Mapping[str, ModelConfig]) -> bool:
        """Say whether to get there takes a load, or the end of an instance, and nothing else is there to be lost."""
        loads = (
            name not in self._there
            or not changes_in_place(self._there[name][0], configuration)
            or self._gone(name, configuration) > 0
            for name, configuration in wanted.items()
        )
        return self._there.keys() <= wanted.keys() and any(loads)

    def _gone(self, name: str, wanted: ModelConfig) -> int:
        """Count the instances under ``name`` that would have to end in place; negative where some are to come."""
        return count_instances(self._there[name][1].configuration) - count_instances(wanted)

    def _arrange(self, candidate: Candidate, models: Iterable[str], *, fresh: bool, hurry: bool) -> None:
        """Start the server anew if it must be, or if in a ``hurry`` that saves time from now on."""
        complete = SWITCH in self.server.options or (hurry and self._may_stop_completing(models))
        wished = {**candidate.server, **({SWITCH: True} if complete else {})}
        if fresh or wished != dict(self.server.options):
            self.restart(wished, model=candidate.model)

    def _may_stop_completing(self, models: Iterable[str]) -> bool:
        """Say whether to spare the server the completion of what is complete: once costs as much as a restart does."""
        if not self.server.completes or self.server.kind == "remote":
            return False
        return all(needs_no_completion(self.server, self._defaults[model]) for model in models)

    def _switch(self, candidate: Candidate, name: str, wanted: ModelConfig, unload_first: bool) -> Deployment:
        """Go from what is served under ``name`` to ``wanted``."""
        there = self._there.get(name)
        if there is None:
            return self._load_anew(candidate, name, wanted)
        before, deployment = there
        if before == wanted:
            deployment = replace(deployment, candidate=candidate)
            self._there[name] = before, deployment
            return deployment
        instances = count_instances(deployment.configuration)
        if changes_in_place(before, wanted):
            self._hasten(name, wanted, gone=self._gone(name, wanted))
            return self._load(candidate, name, wanted)
        if unload_first or is_short(self.server.usage(), loaded=instances, wanted=count_instances(wanted)):
            self.remove(name)
        return self._load_anew(candidate, name, wanted)

    def _load_anew(self, candidate: Candidate, name: str, wanted: ModelConfig) -> Deployment:
        """Load all instances, and remember how long that takes."""
        deployment = self._load(candidate, name, wanted)
        self._loaded_in[name] = self._cold[name]["load_time"]
        return deployment

    def _hasten(self, name: str, wanted: ModelConfig, *, gone: int) -> None:
        """Begin to unload ``name`` where loading it anew beside its end takes less time than waiting for that.

        In place, Triton waits a second for each of the ``gone`` instances.
        """
        if gone > self._loaded_in.get(name, inf) and runs_in_python(self.server, wanted):
            self.server.control.begin_unload(name)

    def _load(self, candidate: Candidate, name: str, wanted: ModelConfig | None) -> Deployment:
        """Load, and read back what the server made of it. Without ``wanted`` it goes by the model's own folder.

        That is done once only: a later load without a configuration leaves one that was given in between in place,
        because the folder has not changed.
        """
        control = self.server.control
        self._there.pop(name, None)
        self._preparation.forget()
        self._cold[name] = {"load_time": control.load(name, wanted)}
        applied = control.configuration(name)
        if wanted is None:
            self._defaults[name] = applied
        else:
            gaps = unapplied(wanted, applied, candidate.patch)
            if gaps:
                raise MeasurementError(
                    f"{candidate.model}: the server does not serve the configuration that was asked for",
                    model=candidate.model,
                    details=[str(gap) for gap in gaps],
                    hint="Triton, or the backend's auto-complete, changed it; drop the axis or the value."
                    if self.server.kind != "remote"
                    else "Do several servers share its address? Name one of them: only one has loaded it.",
                )
        deployment = Deployment(candidate, name, applied)
        self._there[name] = (applied if wanted is None else wanted, deployment)
        return deployment

    def keep_only(self, candidate: Candidate) -> None:
        """Unload what was deployed here and ``candidate`` does without: it would still count as memory in use."""
        kept = {candidate.model, *candidate.composing, *self._steps(candidate.model)}
        for name in [name for name, (_, there) in self._there.items() if there.candidate.model not in kept]:
            self.put_away(name)

    def put_away(self, name: str, *, wait: bool = True) -> None:
        """Unload what is served under ``name``; what a server that is not ours served before us is given back to it."""
        found = self._found.get(name)
        if found is None:
            self.remove(name, wait=wait)
        elif name not in self._there or self._there[name][0] != found:
            self._load(Candidate(name), name, found)

    def leave(self) -> None:
        """Leave a server that is not ours as it was found, as far as it lets us."""
        if self.server.kind == "remote":
            self.server.control.timeout = LEAVE_WITHIN
            for name in {**self._there, **self._found}:
                with suppress(PytestTritonError):
                    self.put_away(name, wait=False)

    def count_instances(self) -> int:
        """Count the instances of everything that is deployed."""
        return sum(count_instances(deployment.configuration) for _, deployment in self._there.values())

    def remove(self, name: str, *, wait: bool = True) -> None:
        """Unload what is served under ``name``; without ``wait`` its end, which takes seconds, goes on by itself."""
        if self._there.pop(name, None) is not None:
            control = self.server.control
            (control.unload if wait else control.begin_unload)(name)

    def prepare(
        self, deployment: Deployment, case: Case, reference: Reference | None = None, *, again: bool = True
    ) -> Verified:
        """Make the requests of ``case`` and check the answers to them; the same inputs for every candidate of a model.

        What has been checked already is made no second time. Unless ``again`` is false, one request is sent then, to
        see that it is still answered.
        Raises ``InputError`` when the requests cannot be made, and what ``Verification.verify`` raises.
        """
        name = deployment.name
        verified = self._preparation.prepare(
            name, deployment.candidate.model, deployment.configuration, case, reference, again=again
        )
        if "load_time" in self._cold[name] and verified.first_seconds is not None:
            self._cold[name].setdefault("first_request_latency", verified.first_seconds)
        return self._with_beside(verified, case, again=again)

    def _with_beside(self, verified: Verified, case: Case, *, again: bool) -> Verified:
        """Add the requests for the models that are under a load beside the case's own, which are loaded if need be."""
        if not case.beside:
            return verified
        requests = {}
        for model, beside in case.beside.items():
            if model in self._there:
                deployment = self._there[model][1]
            else:
                deployment = self._load(Candidate(model), model, patched(self.default(model), {}))
            asked = Case(deployment.candidate, beside.load, beside.inputs)
            requests[model] = self.prepare(deployment, asked, again=again).requests
        return replace(verified, beside=requests)

    def cold_start(self, deployment: Deployment) -> dict[str, float]:
        """Return how the deployment began, in seconds: its ``load_time`` and its ``first_request_latency``."""
        return dict(self._cold[deployment.name])
