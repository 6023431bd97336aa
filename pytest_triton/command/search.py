"""``pytest-triton search REPOSITORY MODEL``: a search without writing a test, which is one in the end."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pytest_triton.command.generated import SearchTest
from pytest_triton.command.models import find_named
from pytest_triton.command.settings import find_settings
from pytest_triton.command.values import read_list, read_value, split_pair
from pytest_triton.correctness import NUMBERS
from pytest_triton.errors import AxisError, UsageError, nearest
from pytest_triton.quantities import Unit, parse
from pytest_triton.search.objective import objectives
from pytest_triton.search.settings import STRATEGIES
from pytest_triton.slo import SLO

BESIDE = "beside the model"
_EXAMPLES = """\
examples:
  pytest-triton search models detector
  pytest-triton search models detector --slo p99=25ms --slo error_rate=0%
  pytest-triton search models detector --axis instance_count=1,2,4 \\
      --axis dynamic_batching=none,{} --concurrency 1..16 --budget 5m
  pytest-triton search models detector --shape IMAGE=3,224,224 --apply-best
  pytest-triton search models detector --slo p99=25ms --write-test

An axis is a field of ModelConfig as config.pbtxt spells it, or an alias such
as instance_count, a field of the load (concurrency, rate, batch_size), or an
option of Triton's (server.cache_config). Its values are JSON with commas
between them, none to remove the field, 1..8, or 'Powers(1, 128)'. Without any
axis, those are tried that the model and the machine allow. SLOs are bounds
that the winner must keep.

It is run by pytest, and ends in the same table, records and files. --write-test
makes a test of it that lies beside the model from then on. What stands after
-- goes to pytest, as in -- -x --triton-fresh.

exit status: 0; 1 when no configuration wins; 2 when an argument is wrong or
you pressed Ctrl-C; else pytest's own.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "search",
        usage="pytest-triton search REPOSITORY MODEL [option ...] [-- pytest argument ...]",
        help="the best configuration of a model",
        description="Find the configuration of MODEL that serves it best.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, help="the model repository, a folder")
    parser.add_argument("model", metavar="MODEL", help="the model's name in it")
    more: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument(
        "--slo", metavar="METRIC=LIMIT", **more, help="what it must deliver, as in p99=25ms; repeatable"
    )
    parser.add_argument(
        "--axis", metavar="NAME=VALUES", **more, help="what to try, as in instance_count=1,2; repeatable"
    )
    parser.add_argument(
        "--objective", metavar="METRIC", **more, help="what to optimise (throughput); several make a Pareto front"
    )
    parser.add_argument(
        "--strategy", metavar="|".join(STRATEGIES), help="how much of each candidate is measured (race)"
    )
    parser.add_argument("--trials", metavar="N", help="how many candidates --strategy optuna proposes")
    parser.add_argument("--concurrency", metavar="N,N|auto", help="requests in flight (auto: looked for)")
    parser.add_argument("--shape", metavar="INPUT=SIZES", **more, help="an input's free sizes, as in IMAGE=3,224,224")
    parser.add_argument("--reference", metavar="ONNX", type=Path, help="the file that says what the outputs must be")
    parser.add_argument(
        "--tolerance",
        metavar="TYPE=RELATIVE,ABSOLUTE",
        **more,
        help="how far outputs of a data type may be from it, as in FP32=0.001,1e-5; repeatable",
    )
    parser.add_argument("--budget", metavar="TIME", help="time for the search, as in 5m")
    parser.add_argument(
        "--server", metavar="KIND|URL", help="as --triton-server: auto, embedded, local, http://host:port"
    )
    parser.add_argument("--apply-best", action="store_true", help="install the winner in the repository")
    parser.add_argument(
        "--write-test",
        nargs="?",
        const=BESIDE,
        metavar="FILE",
        help=f"write the search as a test to FILE ({BESIDE}), and do not run it",
    )
    parser.set_defaults(run=run, rest=[])


def run(chosen: argparse.Namespace) -> int:
    """Run the search and return pytest's exit status, or write its test. Raises ``UsageError``."""
    folder = find_named(chosen.repository, [chosen.model])[0].path
    if chosen.budget is not None:
        with _named(f"--budget {chosen.budget}"):
            parse(chosen.budget, Unit.SECONDS)
    if chosen.server is not None and ":" not in chosen.server:
        from pytest_triton.server.choice import KINDS

        if chosen.server not in KINDS:
            hint = f"A running server is named by its address, http://host:port; {nearest(chosen.server, KINDS)}"
            raise UsageError(f"--server {chosen.server} is no kind of server", hint=hint)
    test = _read(chosen)
    options = _options(chosen)
    if chosen.write_test is not None:
        return _write(test, chosen, folder, options)
    found = find_settings(Path.cwd())
    target = found.output.absolute() / "search" / chosen.model
    path = target / f"test_{_word(chosen.model)}.py"
    try:
        target.mkdir(parents=True, exist_ok=True)
        path.write_text(test.write(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to the output folder {target}: {error.strerror}") from error
    # Of the project's settings those of pytest-triton are meant, and not what its own tests need.
    arguments = [str(path), f"--rootdir={found.folder}", f"--confcutdir={target}", "-p", "no:cacheprovider"]
    arguments += ["-o", "addopts=", "-o", "usefixtures=", "-o", "python_functions=test_*"]
    arguments += ["-c", str(found.file)] if found.file is not None else []
    arguments += [f"--triton-repository={chosen.repository.absolute()}", *options, *chosen.rest]
    sys.stdout.flush()
    # Instead of this process: Ctrl-C and the exit status are pytest's own.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "pytest", *arguments])


def _read(chosen: argparse.Namespace) -> SearchTest:
    """Read and check the options that a test says, too. Raises ``UsageError`` naming the one at fault."""
    axes = _read_axes(chosen.axis)
    load: dict[str, Any] = {}
    if chosen.concurrency is not None:
        with _named("--concurrency"):
            values = read_list(chosen.concurrency)
        if "concurrency" in axes:
            raise UsageError("--concurrency and --axis concurrency mean the same", hint="Leave one of them out.")
        for value in values:
            if not (value == "auto" or (type(value) is int and value >= 1)):
                raise UsageError(f"--concurrency {value} is neither a number from 1 on nor auto")
        load["concurrency"] = values[0] if len(values) == 1 else list(values)
    slo: dict[str, Any] = {}
    for text in chosen.slo:
        name, limit = _read_bound(text)
        if name in slo:
            raise UsageError(f"--slo {name} stands there twice", hint="Name each metric once.")
        slo[name] = limit
    beside = [*SLO.parse(slo, "--slo").models]
    settings: dict[str, Any] = {}
    if chosen.objective:
        beside += [model for each in objectives(chosen.objective) for model in each.models]
        settings["objective"] = chosen.objective[0] if len(chosen.objective) == 1 else chosen.objective
    if chosen.strategy is not None:
        if chosen.strategy not in STRATEGIES:
            raise UsageError(
                f"--strategy {chosen.strategy}: no such strategy", hint=nearest(chosen.strategy, STRATEGIES)
            )
        settings["strategy"] = chosen.strategy
    if chosen.trials is not None:
        if chosen.strategy != "optuna":
            raise UsageError("--trials means nothing without --strategy optuna")
        settings["trials"] = _count("--trials", chosen.trials)
    if chosen.reference is not None:
        if not chosen.reference.is_file():
            raise UsageError(f"--reference {chosen.reference}: there is no such file")
        settings["reference"] = str(chosen.reference.absolute())
    if chosen.tolerance:
        settings["tolerance"] = _read_tolerances(chosen.tolerance)
    if beside:
        raise UsageError(
            f"no model {beside[0]!r} is under load beside {chosen.model}",
            hint="write the search as a test, with @pytest.mark.triton_beside",
        )
    return SearchTest(
        f"The best configuration of {chosen.model}.",
        chosen.model,
        axes or None,
        settings=settings,
        load=load,
        shapes=read_shapes(chosen.shape),
        slo=slo,
    )


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Say in a ``UsageError`` which option it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error.problem}", hint=error.hint, details=error.details) from None


def _read_axes(texts: Sequence[str]) -> dict[str, Any]:
    """Read the axes, fields of ``ModelConfig`` checked; those of the load are left to the marker."""
    from pytest_triton.repository.fields import canonical_path, canonical_value
    from pytest_triton.search.axes import read_axes
    from pytest_triton.search.names import Reader

    reader = Reader(canonical_path, canonical_value, lambda name, value: value)
    axes: dict[str, Any] = {}
    for text in texts:
        name, values = split_pair("--axis", text, "instance_count=1,2,4")
        if name in axes:
            raise UsageError(f"--axis {name} stands there twice", hint="Join their values.")
        with _named(f"--axis {name}"):
            axes[name] = read_list(values)
        try:
            read_axes({name: axes[name]}, reader)
        except AxisError as error:
            if values[0] != "[":
                raise
            # [16] may be one value of a field that takes a list.
            axes[name] = [axes[name]]
            with suppress(AxisError):
                read_axes({name: axes[name]}, reader)
                continue
            raise error from None
    read_axes(axes, reader)
    return axes


def _read_bound(text: str) -> tuple[str, Any]:
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*(.+)", text)
    if match is not None:
        return match[1], (match[2], match[3].strip())
    return split_pair("--slo", text, "p99=25ms")


def read_shapes(texts: Sequence[str]) -> dict[str, list[int]]:
    """Read ``INPUT=3,224,224``, each input once. Raises ``UsageError``."""
    shapes: dict[str, list[int]] = {}
    for text in texts:
        name, sizes = split_pair("--shape", text, "IMAGE=3,224,224")
        if name in shapes:
            raise UsageError(f"--shape {name} stands there twice", hint="Name each input once.")
        shapes[name] = [_size(text, size) for size in sizes.strip("[]").split(",")]
    return shapes


def _read_tolerances(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    tolerances: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, numbers = split_pair("--tolerance", text, "FP32=0.001,1e-5")
        if name not in NUMBERS:
            raise UsageError(f"--tolerance {text}: there is no data type {name!r}", hint=nearest(name, NUMBERS))
        with _named(f"--tolerance {name}"):
            values = [read_value(number) for number in numbers.split(",")]
        if len(values) != 2 or not all(type(value) in (int, float) and 0 <= value < math.inf for value in values):
            raise UsageError(f"--tolerance {text}: two numbers from 0 on are expected", hint="Write FP32=0.001,1e-5.")
        tolerances[name] = tuple(values)
    return tolerances


def _size(text: str, size: str) -> int:
    if not size.strip().isdecimal():
        raise UsageError(f"--shape {text}: {size.strip()!r} is no size", hint="Write --shape IMAGE=3,224,224.")
    return int(size)


def _count(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{option} {text} is no number from 1 on")
    return int(text)


def _options(chosen: argparse.Namespace) -> list[str]:
    """Return the options of pytest's that a test does not say."""
    named: Mapping[str, str | None] = {"server": chosen.server, "budget": chosen.budget}
    options = [f"--triton-{name}={value}" for name, value in named.items() if value is not None]
    return [*options, "--triton-apply-best"] if chosen.apply_best else options


def _write(test: SearchTest, chosen: argparse.Namespace, folder: Path, options: Sequence[str]) -> int:
    """Write the test and say how it is run. Raises ``UsageError`` where there is a file already."""
    from dataclasses import replace

    name = f"test_{_word(chosen.model)}.py"
    path = folder / name if chosen.write_test == BESIDE else Path(chosen.write_test)
    if path.is_dir():
        path /= name
    inside = path.absolute().parent.resolve() == folder.resolve()
    if inside:
        test = replace(test, model=None)
    else:
        options = [f"--triton-repository={chosen.repository}", *options]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(test.write())
    except FileExistsError:
        raise UsageError(
            f"{path} is there already, and stays as it is", hint="Name another file: --write-test FILE."
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    print(f"{path} is written. Run it with\n  {shlex.join(['pytest', str(path), *options, *chosen.rest])}")
    return 0


def _word(model: str) -> str:
    return re.sub(r"\W+", "_", model)
