"""A tritonserver that is installed here: which one it is, and what it says when it does not start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from apart import install_triton, python3_on_path
from python_models import write_model

from pytest_triton.errors import OptionError, ServerStartError, ServerUnavailable
from pytest_triton.server import LocalServer


def write_program(path: Path, text: str, *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_it_has_the_backends_that_it_was_installed_with(
    python_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", python3_on_path())
    program = install_triton(tmp_path / "opt" / "tritonserver")
    link = tmp_path / "tritonserver"
    link.symlink_to(program)
    server = LocalServer(
        python_models, output=tmp_path, program=str(link), arguments=["--disable-auto-complete-config"]
    )
    server.start()
    try:
        assert str(program) in server.description
        server.control.load("identity")
        assert server.control.model_ready("identity")
    finally:
        server.stop()


@pytest.mark.parametrize("finalizes", [False, True], ids=["nothing-to-finalize", "finalizing"])
def test_a_model_stays_as_it_is_and_is_unloaded_only_to_finalize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, send: Callable[..., object], *, finalizes: bool
) -> None:
    monkeypatch.setenv("PATH", python3_on_path())
    program = install_triton(tmp_path / "triton")
    folder = write_model(tmp_path / "models", "identity")
    code = folder / "1" / "model.py"
    if finalizes:
        code.write_text(code.read_text() + "\n    def finalize(self):\n        print('the end of it', flush=True)\n")
    arguments = ["--disable-auto-complete-config"]
    server = LocalServer(tmp_path / "models", output=tmp_path, program=str(program), arguments=arguments)
    try:
        server.start()
        control = server.control
        control.load("identity")
        assert {path.name for path in folder.rglob("*")} == {"1", "config.pbtxt", "model.py"}
        send(control, "identity")
        configuration = control.configuration("identity")
        configuration.version_policy.latest.num_versions = 2
        control.load("identity", configuration)
        # A reload would have begun the statistics anew.
        assert control.statistics("identity").inference_count == 1
    finally:
        server.stop()
    log = (tmp_path / "server.log").read_text()
    assert ("the end of it" in log) == finalizes
    assert ("successfully unloaded" in log) == finalizes


def test_none_on_path_says_what_else_there_is(
    python_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailable, match="no program 'tritonserver' on PATH") as caught:
        LocalServer(python_models, output=tmp_path).start()
    assert "--triton-server-path=PATH" in caught.value.hint


def test_what_cannot_be_the_program_is_refused(python_models: Path, tmp_path: Path) -> None:
    installed = write_program(tmp_path / "opt" / "bin" / "tritonserver", "#!/bin/sh\n")
    archive = write_program(tmp_path / "tritonserver.tgz", "", mode=0o644)
    for path, message, hint in (
        (tmp_path / "nowhere", "there is no such file", "tritonserver"),
        (tmp_path / "opt", "is a folder", f"Name the program in it: {installed}"),
        (archive, "cannot be executed", f"chmod \\+x {archive}"),
    ):
        with pytest.raises(OptionError, match=f"--triton-server-path={path}.* {message}") as caught:
            LocalServer(python_models, output=tmp_path, program=str(path)).start()
        assert hint.replace("\\", "") in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "#!/bin/sh\necho 'tritonserver: error while loading shared libraries: libb64.so.0: none' >&2\nexit 127",
            "LD_",
        ),
        ('#!/bin/sh\necho "lib.so: version \\`GLIBC_2.38\' not found (required by x)" >&2\nexit 1', "LD_LIBRARY_PATH"),
        ("\x7fELF no program of this machine", "built for another kind of machine"),
        ("#!/bin/sh\necho usage: backup FOLDER", "the program tritonserver?"),
    ],
)
def test_one_that_does_not_start_says_what_to_do(text: str, hint: str, python_models: Path, tmp_path: Path) -> None:
    program = write_program(tmp_path / "tritonserver", text)
    with pytest.raises(
        ServerStartError, match="the local server did not start: it ended before it was ready"
    ) as caught:
        LocalServer(python_models, output=tmp_path / "output", program=str(program)).start()
    assert hint in caught.value.hint
    assert caught.value.details
