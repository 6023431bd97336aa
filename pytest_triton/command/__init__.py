"""The command ``pytest-triton``: what is looked at after a run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_triton.command import history
from pytest_triton.errors import PytestTritonError, UsageError

NOTHING = 1
USAGE = 2
TROUBLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit status: 0, 1 (nothing found), 2 (wrong usage) or 3 (it could not be done)."""
    parser = argparse.ArgumentParser(
        prog="pytest-triton",
        description="Look at what performance tests on Triton Inference Server have measured.",
        epilog="Exit status: 0, 1 when there is nothing to show, 2 when an argument is wrong, 3 when the store cannot "
        "be read.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    history.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        found: bool = chosen.run(chosen)
        sys.stdout.flush()
    except UsageError as error:
        print(f"pytest-triton: {error}", file=sys.stderr)
        return USAGE
    except PytestTritonError as error:
        print(f"pytest-triton: {error}", file=sys.stderr)
        return TROUBLE
    except BrokenPipeError:
        # As in `pytest-triton history detector | head`: who reads has seen enough, and Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0 if found else NOTHING
