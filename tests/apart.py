"""Tritons that are not the embedded server: one that is installed, and one that someone else has started."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_triton.server.base import Endpoints
from pytest_triton.server.embedded.backend_directory import make_backend_directory
from pytest_triton.server.embedded.installation import find_installation
from pytest_triton.server.ports import choose_ports
from pytest_triton.server.readiness import wait_until_ready
from pytest_triton.server.supervised import SupervisedProcess


def install_triton(prefix: Path) -> Path:
    """Install the embedded Triton below ``prefix`` as the official container has it below /opt/tritonserver.

    Returns its program. Of the environment that it is started in it needs ``PATH`` alone, with ``python3_on_path``.
    """
    installation = find_installation()
    make_backend_directory(prefix / "backends", installation)
    (prefix / "caches").symlink_to(installation.caches, target_is_directory=True)
    program = prefix / "bin" / "tritonserver"
    program.parent.mkdir()
    environment = installation.environment()
    program.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH='{environment['LD_LIBRARY_PATH']}'\n"
        f'exec {installation.tritonserver} "$@"\n'
    )
    program.chmod(0o755)
    return program


def python3_on_path() -> str:
    """``PATH`` with the interpreter before all others that models are to run in."""
    return f"{find_installation().interpreter.path.parent}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def serve_fixed(program: Path, repository: Path, folder: Path) -> Iterator[Endpoints]:
    """Start ``program`` without explicit model control, so that it serves all of ``repository`` and loads no more.

    Its log goes to ``folder``.
    """
    names = ("http", "grpc", "metrics")
    ports = dict(zip(names, choose_ports(len(names)), strict=True))
    prefix = f"pytest-triton-{secrets.token_hex(5)}"
    words = [
        str(program),
        f"--model-repository={repository}",
        f"--backend-directory={program.parent.parent / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        "--disable-auto-complete-config",
        *(f"--{name}-port={port}" for name, port in ports.items()),
        *(f"--{name}-address=127.0.0.1" for name in names),
    ]
    process = SupervisedProcess(log=folder / "fixed.log", shm_prefix=prefix, directories=[])
    process.run(words, {**os.environ, "PATH": python3_on_path()})
    try:
        endpoints = Endpoints(**{name: f"127.0.0.1:{port}" for name, port in ports.items()})
        trouble = wait_until_ready(endpoints, server_id="triton", timeout=30, ended=lambda: process.status is not None)
        assert trouble is None, f"{trouble}:\n{(folder / 'fixed.log').read_text()}"
        yield endpoints
    finally:
        process.end(grace=0)
