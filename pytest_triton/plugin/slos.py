"""The SLO of every case: from the markers, and from the ``slo.toml`` beside the model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_triton.case import Beside
from pytest_triton.errors import MarkerError, UsageError, nearest
from pytest_triton.metrics import Needs
from pytest_triton.plugin import options, values
from pytest_triton.plugin.markers import Wish, reading_in
from pytest_triton.plugin.models import repository_of
from pytest_triton.slo import SLO
from pytest_triton.slo_rules import Rule, Subject, check_load, check_names, resolve

_OF_GPUS = (Needs.GPU, Needs.NVML)
_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""One of these files is there wherever an NVIDIA driver is; the last one under Windows' Linux."""


def rules_of(wish: Wish, model: str, test_file: Path, config: pytest.Config) -> tuple[Rule, ...]:
    """Return what markers and file say, the markers first. Raises ``SLOFileError``."""
    from pytest_triton.repository.slo_file import read_rules

    path = _find_file(model, test_file, config)
    return wish.rules if path is None else (*wish.rules, *read_rules(path, reading_in(path.parent)))


def _find_file(model: str, test_file: Path, config: pytest.Config) -> Path | None:
    """Find the model's slo.toml: in its folder in the repository, else beside a test file in a folder of its name."""
    from pytest_triton.repository.slo_file import NAME

    repository = repository_of(test_file, config)
    folders = [repository / model] if repository is not None else []
    if test_file.parent.name == model:
        # A model that only a running server has needs no folder but the tests'.
        folders.append(test_file.parent)
    return next((folder / NAME for folder in folders if (folder / NAME).exists()), None)


def slo_of(
    rules: Sequence[Rule], model: str, subject: Subject, config: pytest.Config, beside: Mapping[str, Beside]
) -> SLO:
    """Return the SLO of one case, beside which other models are under loads of their own.

    Raises ``MarkerError`` when bounds contradict each other, or are on metrics that the load or the server cannot give.
    """
    try:
        slo = resolve(rules, subject)
        check_models(slo.models, model, beside)
        for name, load in ((name, each.load) for name, each in beside.items()):
            check_load(slo.on(name), load)
        check_load(slo.on(), subject.load)
        if not options.is_set(config, "smoke"):
            _check_server(slo, config)
    except UsageError as error:
        name = f"{model} [{subject.id}]" if subject.id else model
        raise MarkerError(f"triton_slo: {error.problem} (the SLO of {name})", hint=error.hint) from None
    return slo


def check_models(named: Iterable[str], model: str, beside: Collection[str]) -> None:
    """Raise ``UsageError`` for a model whose figures are to be judged, and that is under no load."""
    for name in named:
        if name == model:
            raise UsageError(f"{name} is the model that is measured", hint="leave its name out")
        if name not in beside:
            known = nearest(name, beside) if beside else f"add triton_beside({name!r}, concurrency=1)"
            raise UsageError(f"no model {name!r} is under load beside {model}", hint=known)


def check_cases(rules: Sequence[Rule], subjects: Sequence[Subject], *, search: bool = False) -> None:
    """Raise ``MarkerError`` for a rule that names a candidate, or an axis's value, which no case of a test has."""
    try:
        check_names(rules, subjects, search=search)
    except UsageError as error:
        raise MarkerError(error.problem, hint=error.hint) from None


def _check_server(slo: SLO, config: pytest.Config) -> None:
    """Raise ``UsageError`` for a bound on what the server that was chosen never gives."""
    for bound in slo.bounds:
        needs = bound.metric.needs
        if needs not in (*_OF_GPUS, Needs.OWN_SERVER):
            continue
        written = f" ({bound.source})" if bound.source else ""
        gpus = values.gpus(config)
        if options.is_remote(config) and not (needs in _OF_GPUS and (gpus or _tells_metrics(needs, config))):
            named = ", name its metrics as in http://host:port,http://host:8002/metrics" if needs is Needs.GPU else ""
            raise UsageError(
                f"{bound}{written}: a running server does not give {bound.metric.name}; it takes {needs.value}",
                hint=f"leave the bound out{named}, or let the run start its own server (--triton-server=auto)",
            )
        if needs in _OF_GPUS and gpus == "none":
            raise UsageError(
                f"{bound}{written}: --triton-gpus=none leaves none, and it takes {needs.value}",
                hint="name a GPU, or leave the bound out",
            )
        if needs in _OF_GPUS and _is_embedded(config) and not any(Path(driver).exists() for driver in _DRIVERS):
            raise UsageError(
                f"{bound}{written}: this machine has no NVIDIA driver, so the embedded server cannot give "
                f"{bound.metric.name}; it takes {needs.value}",
                hint="run on a machine with a GPU, leave the bound out here, or see with --triton-smoke that all works",
            )


def _tells_metrics(needs: Needs, config: pytest.Config) -> bool:
    return needs is Needs.GPU and "/metrics" in options.setting(config, "server")[0]


def _is_embedded(config: pytest.Config) -> bool:
    # Another plugin may bring a server of its own, of which nothing is known before it runs.
    makers = config.hook.pytest_triton_make_server.get_hookimpls()
    ours = all(impl.plugin_name == "triton-defaults" for impl in makers)
    return ours and options.server_kind(config) == "embedded"
