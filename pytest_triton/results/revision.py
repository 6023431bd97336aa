"""Which state of the source was measured: the commit, and the run of a CI system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_RUN = (
    "GITHUB_RUN_ID",
    "CI_PIPELINE_ID",
    "BUILD_TAG",
    "CIRCLE_WORKFLOW_ID",
    "BUILDKITE_BUILD_ID",
    "BUILD_BUILDID",
)
"""Where GitHub, GitLab, Jenkins, CircleCI, Buildkite and Azure say which run this is."""

_BRANCH = (
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_REF_NAME",
    "CHANGE_BRANCH",
    "BRANCH_NAME",
    "CIRCLE_BRANCH",
    "BUILDKITE_BRANCH",
    "BUILD_SOURCEBRANCHNAME",
)
"""Where they say which branch it is of: of a pull request, the one that it comes from."""


@cache
def revision(directory: Path) -> dict[str, Any]:
    """Return ``commit``, ``dirty`` (tracked files differ from it), ``branch`` and ``ci_run``, as far as known.

    The commit is the one that ``directory`` is checked out at. A branch that CI names goes before git's own word, which
    a checkout of CI rarely has.
    """
    found: dict[str, Any] = {}
    commit = _git(directory, "rev-parse", "HEAD")
    if commit:
        changed = _git(directory, "status", "--porcelain", "--untracked-files=no")
        found = {"commit": commit} if changed is None else {"commit": commit, "dirty": bool(changed)}
    branch = _first(os.environ, _BRANCH) or _git(directory, "symbolic-ref", "--quiet", "--short", "HEAD")
    run = _first(os.environ, _RUN)
    return {**found, **({"branch": branch} if branch else {}), **({"ci_run": run} if run else {})}


def _first(values: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git says, None where there is no git, or no checkout."""
    # Looking at a work tree must not make git write its index: another one may be at work there.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
