"""Model Analyzer as a peer: install it, let it search on our embedded Triton, read what it measured.

It lives in a virtual environment of its own. Its local launch mode gets a script as ``--triton-server-path`` that
starts the ``tritonserver`` of ``nvidia-pytriton`` with our backends, and the Perf Analyzer of ``_perf_analyzer.py``.

Where the defaults of both would cost it time or measurements for no reason of its own, it gets better ones: a server
that ends within two seconds, since one with Python stubs would take all of the five after which it is killed; and no
limit on Perf Analyzer's CPU time, beyond which it throws a measurement away. Reports are left out.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _perf_analyzer import PerfAnalyzer

from pytest_triton.server.embedded.backend_directory import make_backend_directory
from pytest_triton.server.embedded.environment import make_environment
from pytest_triton.server.embedded.installation import find_installation
from pytest_triton.server.ports import LOOPBACK, choose_ports
from pytest_triton.server.supervised import SupervisedProcess, describe_status

VERSION = "1.58.0"
_POLL = 0.05
_END_WITHIN = 2


@dataclass(frozen=True)
class Measured:
    """One of its measurements: a variant of the model at a concurrency, in inferences per second."""

    variant: str
    concurrency: int
    throughput: float


@dataclass(frozen=True)
class Profile:
    """One run of it. ``seconds`` is the whole command's time; the variants' folders lie in ``variants``."""

    seconds: float
    measured: tuple[Measured, ...]
    variants: Path

    @property
    def best(self) -> Measured:
        """The measurement with the highest throughput, its default objective."""
        return max(self.measured, key=lambda each: each.throughput)


@dataclass(frozen=True)
class ModelAnalyzer:
    """The command ``model-analyzer`` at ``program``, with ``perf_analyzer``."""

    program: Path
    perf_analyzer: PerfAnalyzer

    def profile(
        self, repository: Path, model: str, search: Mapping[str, Any], *, folder: Path, protocol: str, limit: float
    ) -> Profile:
        """Search ``model`` as ``search`` says, in its configuration file's words. ``folder`` is an empty one for it.

        Raises ``SystemExit`` with the end of its log when it fails or takes more than ``limit`` seconds.
        """
        http, grpc, metrics = choose_ports(3)
        prefix = f"model-analyzer-{secrets.token_hex(4)}"
        log = folder / "model-analyzer.log"
        configuration = {
            "model_repository": str(repository),
            "triton_launch_mode": "local",
            "triton_server_path": str(_write_launcher(folder, repository, prefix)),
            "triton_output_path": str(folder / "server.log"),
            "triton_http_endpoint": f"{LOOPBACK}:{http}",
            "triton_grpc_endpoint": f"{LOOPBACK}:{grpc}",
            "triton_metrics_url": f"http://{LOOPBACK}:{metrics}/metrics",
            "client_protocol": protocol,
            "perf_analyzer_path": str(self.perf_analyzer.program),
            "perf_analyzer_cpu_util": 1e6,
            "output_model_repository_path": str(folder / "variants"),
            "checkpoint_directory": str(folder / "checkpoints"),
            "export_path": str(folder),
            "skip_summary_reports": True,
            "skip_detailed_reports": True,
            **search,
        }
        # JSON is YAML.
        (folder / "profile.yaml").write_text(json.dumps(configuration, indent=1))
        command = [str(self.program), "profile", "-f", str(folder / "profile.yaml")]
        # Its packages are its own.
        environment = {name: value for name, value in self.perf_analyzer.environment.items() if name != "PYTHONPATH"}
        seconds = _run(command, environment, folder=folder, log=log, prefix=prefix, limit=limit)
        checkpoints = sorted((folder / "checkpoints").glob("*.ckpt"), key=lambda path: int(path.stem))
        measured = read_checkpoint(json.loads(checkpoints[-1].read_text()), model) if checkpoints else ()
        if not measured:
            raise SystemExit(f"model-analyzer measured nothing:\n{_end_of(log)}\n{_end_of(folder / 'server.log')}")
        return Profile(seconds, measured, folder / "variants")


def read_checkpoint(state: Mapping[str, Any], model: str) -> tuple[Measured, ...]:
    """Return the measurements of ``model`` that a checkpoint holds, in the order they were made."""
    found: list[Measured] = []
    for variant, (_, measurements) in state["ResultManager.results"]["_results"].get(model, {}).items():
        for each in measurements.values():
            (part,) = each["_model_config_measurements"]
            (throughput,) = (record["_value"] for tag, record in part["_non_gpu_data"] if tag == "perf_throughput")
            concurrency = part["_model_specific_pa_params"]["concurrency-range"]
            found.append(Measured(variant, int(concurrency), float(throughput)))
    return tuple(found)


def install(cache: Path, perf_analyzer: PerfAnalyzer) -> ModelAnalyzer:
    """Return Model Analyzer out of ``cache``, installed with pip the first time."""
    environment = cache / f"model-analyzer-{VERSION}"
    program = environment / "bin" / "model-analyzer"
    done = environment / "installed"
    if not done.exists():
        print(f"installing Model Analyzer {VERSION} into {environment}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, f"triton-model-analyzer=={VERSION}"], check=True)
        done.touch()
    return ModelAnalyzer(program, perf_analyzer)


def _write_launcher(folder: Path, repository: Path, prefix: str) -> Path:
    """Write a script that is a ``tritonserver`` with our backends; arguments after it are passed on."""
    installation = find_installation()
    make_backend_directory(folder / "backends", installation)
    environment = make_environment(folder / "python", installation, keep_clean=[repository])
    words = [
        f"--backend-directory={folder / 'backends'}",
        f"--cache-directory={installation.caches}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--exit-timeout-secs={_END_WITHIN}",
        *(f"--{service}-address={LOOPBACK}" for service in ("http", "grpc", "metrics")),
    ]
    exports = [
        f"export {name}={shlex.quote(value)}" for name, value in environment.items() if os.environ.get(name) != value
    ]
    script = folder / "tritonserver"
    command = shlex.join([str(installation.tritonserver), *words])
    script.write_text("\n".join(["#!/bin/sh", *exports, f'exec {command} "$@"', ""]))
    script.chmod(0o755)
    return script


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, folder: Path, log: Path, prefix: str, limit: float
) -> float:
    """Run it in ``folder`` and return the seconds it took; nothing that it started outlives this."""
    began = time.monotonic()
    process = SupervisedProcess(log=log, shm_prefix=prefix, directories=[])
    try:
        process.run(["/bin/sh", "-c", f'cd {shlex.quote(str(folder))} && exec "$@"', "sh", *command], environment)
        while (status := process.status) is None:
            if time.monotonic() - began > limit:
                raise SystemExit(f"model-analyzer took more than {limit:.0f} s:\n{_end_of(log)}")
            time.sleep(_POLL)
        seconds = time.monotonic() - began
    finally:
        process.end(grace=0)
    if status:
        raise SystemExit(f"model-analyzer: {describe_status(status)}:\n{_end_of(log)}")
    return seconds


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:]) if log.exists() else ""
