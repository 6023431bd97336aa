"""``pytest-triton check REPOSITORY``: who can serve each model, what Triton makes of it, whether it answers."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.command.models import find_named
from pytest_triton.command.search import read_shapes
from pytest_triton.command.server import add_server_options, make_server
from pytest_triton.command.settings import find_settings
from pytest_triton.errors import (
    ModelLoadError,
    PytestTritonError,
    RepositoryError,
    ServerDied,
    UsageError,
    nearest,
)
from pytest_triton.quantities import Unit, parse, show
from pytest_triton.report.table import table

if TYPE_CHECKING:
    from pytest_triton.deployment import Deployer
    from pytest_triton.repository.layout import ModelFolder
    from pytest_triton.server.base import Server

_EXAMPLES = """\
examples:
  pytest-triton check models
  pytest-triton check models detector tokenizer --shape IMAGE=3,640,640
  pytest-triton check models --server local
  pytest-triton check models --server https://triton.example:8443 \\
      --header 'Authorization: Bearer env:TOKEN'

Each model is loaded on its own and asked once, with random inputs. The lines
below its name say what Triton completed or changed in its configuration. What
a running server serves already is asked as it is, and stays.
The column servers says who can serve it: the embedded server, a local one (the
tritonserver on PATH, as in the official container), one in a container, or a
running one, named by its address, that has the backend.

exit status: 0; 1 when a model does not work; 2 when an argument is wrong; 3
when there is no server.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "check",
        help="whether models load, and answer",
        description="Load every model of REPOSITORY, or those that are named, and send each a request.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, help="the model repository, a folder")
    parser.add_argument("models", metavar="MODEL", nargs="*", help="the models' names in it (default: all)")
    parser.add_argument(
        "--shape",
        metavar="INPUT=SIZES",
        action="append",
        default=[],
        help="an input's free sizes, as in IMAGE=3,224,224 (default: 1 each); repeatable",
    )
    parser.add_argument(
        "--timeout", metavar="TIME", default="2m", help="longest time for a load, and for an answer (default: 2m)"
    )
    add_server_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what works and what does not; return 1 if a model does not. Raises ``UsageError`` and ``ServerError``."""
    folders = find_named(chosen.repository, chosen.models)
    shapes = read_shapes(chosen.shape)
    timeout = _read_timeout(chosen.timeout)
    servers = _Servers(chosen, timeout)
    rows, known = [], set[str]()
    try:
        print(f"on {servers.deployer().server.description}", flush=True)
        for folder in folders:
            rows.append(_check(folder, servers, shapes, known))
    finally:
        servers.stop()
    print()
    header = ("model", "backend", "servers", "result", "load", "first request")
    print("\n".join(table(header, rows, left=4)))
    failed = [row[0] for row in rows if row[3] != "ok"]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} work{': not ' + ', '.join(failed) if failed else ''}")
    unknown = [name for name in shapes if name not in known]
    if unknown and not failed:
        raise UsageError(
            f"--shape {unknown[0]}: no model that was checked has such an input", hint=nearest(unknown[0], known)
        )
    return int(bool(failed))


def _read_timeout(text: str) -> float:
    try:
        seconds = parse(text, Unit.SECONDS)
    except UsageError as error:
        raise UsageError(f"--timeout {text}: {error.problem}", hint=error.hint) from None
    if not seconds:
        raise UsageError(f"--timeout {text} leaves no time for anything")
    return seconds


class _Servers:
    """The server that models are checked on; another one once one of them has done it harm.

    ``timeout`` bounds each load and each answer, in seconds.
    """

    def __init__(self, chosen: argparse.Namespace, timeout: float) -> None:
        from pytest_triton.server.log import NAME

        found = find_settings(Path.cwd())
        output = found.output.absolute()
        output.mkdir(parents=True, exist_ok=True)
        (output / NAME).unlink(missing_ok=True)

        def make() -> Server:
            return make_server(chosen, found, chosen.repository.absolute(), output)

        self._make = make
        self._timeout = timeout
        self._deployer: Deployer | None = None

    def deployer(self) -> Deployer:
        """Return what puts models onto the running server, started where there is none."""
        from pytest_triton.deployment import Deployer

        if self._deployer is not None:
            with contextlib.suppress(ServerDied):
                self._deployer.server.check()
                return self._deployer
            self.stop()
        server = self._make()
        self._deployer = Deployer(server)
        server.start()
        server.control.timeout = server.control.request_timeout = self._timeout
        return self._deployer

    def stop(self) -> None:
        """End the server, if one runs; leave one that is not ours as it was found."""
        deployer, self._deployer = self._deployer, None
        if deployer is not None:
            deployer.leave()
            deployer.server.stop()


def _check(folder: ModelFolder, servers: _Servers, shapes: Mapping[str, Sequence[int]], known: set[str]) -> list[str]:
    """Check one model, print what there is to say of it, return its row of the table."""
    from pytest_triton.examination import Backend, ask, find_backend, load

    print(f"\n{folder.name}", flush=True)
    backend, seconds = Backend("-"), "-"
    try:
        backend = find_backend(folder)
        if backend.missing:
            _say(f"the embedded server cannot serve it: {backend.missing}")
        deployer = servers.deployer()
        loaded = load(deployer, folder)
        seconds = show(loaded.seconds, Unit.SECONDS)
        _say(*loaded.completed or ("its configuration is complete",))
        known |= loaded.inputs
        assumed = loaded.assume(shapes)
        for name, shape in assumed.items():
            sizes = ",".join(map(str, shape))
            _say(f"asked with {name} of shape {list(shape)}; with another one by --shape {name}={sizes}")
        first = ask(deployer, loaded, {**assumed, **shapes})
        if first is None:
            _say("not asked: a decoupled model needs the server's gRPC address")
        deployer.put_away(folder.name)
    except PytestTritonError as error:
        if not isinstance(error, ModelLoadError | RepositoryError):
            # What hangs, or has lost its process, cannot even be unloaded, and would be in the others' way.
            servers.stop()
        # Its name stands above already.
        error.model = ""
        _say(*str(error).splitlines())
        return [folder.name, backend.name, ", ".join(backend.servers), "FAILED", seconds, "-"]
    return [folder.name, backend.name, ", ".join(backend.servers), "ok", seconds, show(first, Unit.SECONDS)]


def _say(*lines: str) -> None:
    for line in lines:
        print(f"  {line}", flush=True)
