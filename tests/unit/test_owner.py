"""Whose a thing is, and whether that process is gone."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_triton.owner import Owner


def test_a_process_knows_itself_and_is_there():
    owner = Owner.current()
    assert owner == Owner.current()
    assert owner.pid == os.getpid()
    assert not owner.is_gone()
    assert Owner.read(str(owner)) == owner


def test_a_process_that_has_ended_is_gone_before_and_after_it_is_waited_for():
    program = "from pytest_triton.owner import Owner; print(Owner.current())"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        owner = Owner.read(process.stdout.read())
        assert owner is not None
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert owner.is_gone()
    assert owner.is_gone()


@pytest.mark.parametrize(
    ("difference", "gone"),
    [
        ({"started": 1}, True),  # the same process id, and another process
        ({"pid": 2**22 + 1}, True),
        ({"namespace": 1}, False),  # a container beside this one: nothing is known of it from here
        ({"namespace": 1, "pid": 2**22 + 1}, False),
        ({"boot": "another"}, True),  # this machine has been started anew since
        ({"boot": "another", "host": "another"}, False),  # another machine, by way of a folder on the network
        ({"host": "another"}, False),  # the host's name may change as it runs
    ],
)
def test_every_part_counts(difference: dict[str, int | str], gone: bool):
    owner = replace(Owner.current(), **difference)  # type: ignore[arg-type]
    assert owner.is_gone() is gone


@pytest.mark.parametrize("text", ["", "host boot 1 2", "host boot 1 2 3 4", "host boot 1 2 x", "host boot 1 -2 3"])
def test_other_texts_name_no_owner(text: str):
    assert Owner.read(text) is None
