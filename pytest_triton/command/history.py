"""``pytest-triton history MODEL``: how a model did over its last records."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_triton.command.settings import find_place
from pytest_triton.errors import nearest
from pytest_triton.metrics import metric
from pytest_triton.results.place import read_place

if TYPE_CHECKING:
    from pytest_triton.report.history import Style
    from pytest_triton.results.store import Store

_EXAMPLES = """\
examples:
  pytest-triton history detector
  pytest-triton history detector --case 'meets_its_slo[c4]' --last 50
  pytest-triton history detector --metric p50 p99 gpu_memory
  pytest-triton history detector --store postgresql://ci@db.example/results

Each row is a record: a commit with * had changes that were not committed.
A line that begins with ~ says what changed before the next row, beside the
source: the machine, a version, the load, the model. Rows above such a line
compare badly with rows below it.

exit status: 0; 1 when there is nothing to show; 2 when an argument is wrong;
3 when the store cannot be read.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "history",
        help="the last records of a model's tests, in a table and a spark line",
        description="Show the last records of every test of MODEL, the newest last.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name, as in the model repository")
    parser.add_argument("--case", metavar="SUBSTRING", default="", help="only tests whose id contains this")
    parser.add_argument(
        "--metric",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="what to show (default: throughput p99); a wrong name lists all",
    )
    parser.add_argument("--last", type=_count, default=20, metavar="N", help="so many records of each test (20)")
    parser.add_argument("--candidates", action="store_true", help="show the candidates of searches, too")
    parser.add_argument(
        "--store",
        metavar="URL|PATH",
        help="where the records are (default: what triton_store or triton_output in pytest's ini file name, else "
        ".triton/results.db here or in a folder above)",
    )
    parser.add_argument("--json", action="store_true", help="write JSON for other programs instead of tables")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the history and return 1 if there is none. Raises ``UsageError`` and ``StoreError``."""
    names = chosen.metric or ["throughput", "p99"]
    for name in names:
        metric(name)
    here = Path.cwd()
    place = read_place(chosen.store, here) if chosen.store else find_place(here)
    from pytest_triton.report import history
    from pytest_triton.results.store import Store

    store = Store(place)
    records = store.history(
        chosen.model, case=chosen.case, last=chosen.last, candidates=chosen.candidates or bool(chosen.case)
    )
    if chosen.json:
        print(json.dumps(history.document(records, chosen.model, str(place)), indent=2))
        return int(not records)
    for line in history.write(records, names, _style(), time.time()):
        print(line)
    hidden = store.count_candidates(chosen.model) if not chosen.candidates and not chosen.case else 0
    if not records:
        print(_nothing(store, chosen.model, chosen.case, hidden))
    elif hidden:
        print(f"\n{_candidates(hidden)} left out; --candidates shows them.")
    return int(not records)


def _style() -> Style:
    from pytest_triton.report.history import Style

    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(shutil.get_terminal_size().columns, colour, encoding.startswith("utf"))


def _nothing(store: Store, model: str, case: str, hidden: int) -> str:
    """Say that there is nothing, and what there is instead."""
    if store.place.path is not None and not store.place.path.exists():
        return f"There is no store {store.place} yet: a run of pytest makes it, or name another one with --store."
    models = store.models()
    if model in models:
        if hidden:
            return f"Nothing but {_candidates(hidden)} recorded of {model}; --candidates shows them."
        return f"No test of {model} with {case!r} in its id is in {store.place}; without --case, all are shown."
    known = nearest(model, models) if models else "it is empty"
    return f"Nothing is recorded of a model {model!r} in {store.place}; {known}"


def _candidates(count: int) -> str:
    return "1 candidate of a search is" if count == 1 else f"{count} candidates of searches are"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)
