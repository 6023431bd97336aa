"""The command ``pytest-triton``: what is done without writing a test, and what is looked at after a run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_triton.command import check, history, search
from pytest_triton.errors import PytestTritonError, UsageError

USAGE = 2
TROUBLE = 3
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit status: 0, 1 (no), 2 (wrong usage) or 3 (it could not be done)."""
    parser = argparse.ArgumentParser(
        prog="pytest-triton",
        description="Models on Triton Inference Server: which configuration is best, whether they work at all, and "
        "what their performance tests have measured.",
        epilog="Exit status: 0; 1 when no configuration wins, a model does not work, or there is nothing to show; "
        "2 when an argument is wrong; 3 when it could not be done.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    search.add(commands)
    check.add(commands)
    history.add(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = given, list[str]()
    if given[:1] == ["search"] and "--" in given:
        place = given.index("--")
        own, rest = given[:place], given[place + 1 :]
    chosen = parser.parse_args(own)
    if rest:
        chosen.rest = rest
    try:
        status: int = chosen.run(chosen)
        sys.stdout.flush()
    except UsageError as error:
        print(f"pytest-triton: {error}", file=sys.stderr)
        return USAGE
    except PytestTritonError as error:
        print(f"pytest-triton: {error}", file=sys.stderr)
        return TROUBLE
    except KeyboardInterrupt:
        print("pytest-triton: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # As in `pytest-triton history detector | head`: who reads has seen enough, and Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status
