"""What the embedded server needs, and what to say where it is missing."""

import json
import re
from pathlib import Path

import pytest

from pytest_triton.errors import ServerUnavailable
from pytest_triton.server.embedded import installation, libraries
from pytest_triton.server.embedded.environment import make_environment
from pytest_triton.server.embedded.installation import Installation, find_installation
from pytest_triton.server.embedded.libraries import advise_packages, require_libraries
from pytest_triton.server.embedded.missing import (
    advise_missing_backend,
    advise_missing_package,
    embedded_backends,
)
from pytest_triton.server.interpreter import Interpreter


def interpreter_that_says(folder: Path, **answer: object) -> str:
    """Make a program that answers our questions like an interpreter that has everything but what ``answer`` says."""
    complete = {
        "version": [3, 11],
        "implementation": "cpython",
        "executable": "/opt/python/bin/python3.11",
        "home": "/usr/bin",
        "packages": ["/opt/python/lib/python3.11/site-packages"],
        "first": [],
        "libraries": ["/usr/lib"],
        "pytriton": str(folder / "pytriton"),
        "pytriton_version": "0.7.0",
        "numpy": "1.26.4",
    }
    for version in ("3.9", "3.10", "3.11"):
        stub = folder / "pytriton" / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
        stub.parent.mkdir(parents=True)
        stub.touch()
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({**complete, **answer})}'\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def no_libraries_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the parts for complete; they are empty files here."""
    monkeypatch.setattr(installation, "require_libraries", lambda programs, environment: None)


@pytest.mark.usefixtures("no_libraries_needed")
def test_the_parts_of_the_interpreters_version_are_found(tmp_path: Path):
    found = find_installation(interpreter_that_says(tmp_path))
    assert found.stub.parent.name == "3.11"
    assert found.tritonserver == tmp_path / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    assert found.environment()["LD_LIBRARY_PATH"].startswith(f"{tmp_path}/nvidia_pytriton.libs:/usr/lib")
    assert found.environment()["PATH"].startswith("/opt/python/bin:")


@pytest.mark.usefixtures("no_libraries_needed")
@pytest.mark.parametrize(
    ("answer", "problem", "hint"),
    [
        ({"pytriton": None}, "no nvidia-pytriton", r"pytest-triton\[embedded\]"),
        ({"numpy": None}, "no NumPy", r"pytest-triton\[embedded\]"),
        ({"numpy": "2.3.1"}, r"NumPy 2\.3\.1", "numpy<2"),
        ({"version": [3, 14]}, r"cpython 3\.14", r"3\.9, 3\.10, 3\.11"),
        ({"implementation": "pypy"}, "pypy", "stubs for CPython"),
    ],
)
def test_what_an_interpreter_lacks_is_named(tmp_path: Path, answer: dict[str, object], problem: str, hint: str):
    with pytest.raises(ServerUnavailable, match=problem) as caught:
        find_installation(interpreter_that_says(tmp_path, **answer))
    assert caught.match(hint)


def test_another_platform_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation.platform, "machine", lambda: "aarch64")
    with pytest.raises(ServerUnavailable, match="aarch64"):
        find_installation("anything")


@pytest.mark.parametrize(
    ("said", "problem", "hint"),
    [
        ("\tlibz.so.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n", r"libz\.so\.1", "apt-get install zlib1g"),
        ("\tlibpython3.11.so.1.0 => not found\n", "libpython3.11", "apt-get install libpython3.11"),
        ("\tlibodd.so.3 => not found\n", "libodd.so.3", "apt-file search libodd.so.3"),
        ("x: /lib/libc.so.6: version `GLIBC_2.38' not found (required by x)\n", r"too old.*GLIBC 2\.38", "Debian 12"),
    ],
)
def test_missing_system_libraries_are_named_with_their_package(
    monkeypatch: pytest.MonkeyPatch, said: str, problem: str, hint: str
):
    monkeypatch.setattr(libraries, "_resolve", lambda program, environment: said)
    with pytest.raises(ServerUnavailable, match=problem) as caught:
        require_libraries([Path("tritonserver")], {})
    assert caught.match(hint)


def test_a_program_of_this_system_has_its_libraries():
    require_libraries([Path("/bin/sh")], {})


def test_a_file_that_is_no_program_is_refused(tmp_path: Path):
    (tmp_path / "tritonserver").touch()
    with pytest.raises(ServerUnavailable, match="cannot be run here"):
        require_libraries([tmp_path / "tritonserver"], {})


def test_known_and_unknown_libraries_are_told_apart():
    assert advise_packages(["libz.so.1", "libodd.so.3"]) == (
        "Install them with `apt-get install zlib1g`. Find the package of each with `apt-file search libodd.so.3`."
    )


def test_the_models_environment_adds_what_the_interpreter_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/bin")
    interpreter = Interpreter(
        path=Path("/opt/env/bin/python"), version=(3, 11), home=Path("/usr/bin"), packages=("/a", "/b"), first=("/p",)
    )
    nowhere = tmp_path / "none"
    found = Installation(
        interpreter=interpreter,
        pytriton_version="0.7.0",
        tritonserver=nowhere,
        python_backend=nowhere,
        stub=nowhere,
        caches=nowhere,
        libraries=(),
    )
    environment = make_environment(tmp_path / "python", found, keep_clean=[Path("/models")])
    assert environment["PATH"] == f"{tmp_path}/python/bin:/opt/env/bin:/bin"
    packages = tmp_path / "python" / "lib" / "python3.11" / "site-packages"
    startup = (packages / "models.pth").read_text()
    assert "site.addsitedir('/a')" in startup
    assert "sys.path[:0] = ['/p']" in startup
    assert "('/models/',)" in (packages / "pytest_triton_clean.py").read_text()
    assert (tmp_path / "python" / "pyvenv.cfg").read_text().startswith("home = /usr/bin\n")


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("unable to find backend library for backend 'tensorrt', try specifying runtime", "An official container has"),
        ("unable to find 'libtriton_dali.so' for model 'm', searched: /x", "'dali'"),
        ("unable to find backend library for backend 'mine', try", "'mine' is no official one"),
        ("unable to find backend library for backend 'python', try", ""),
        ("dims must be positive", ""),
    ],
)
def test_a_missing_backend_is_explained(reason: str, advice: str):
    said = advise_missing_backend(reason)
    assert advice in said
    assert bool(said) == bool(advice)


def test_a_missing_package_is_explained():
    said = advise_missing_package("ModuleNotFoundError: No module named 'torch'", Path("/env/bin/python"))
    assert "/env/bin/python -m pip install" in said
    assert "'torch'" in said
    assert advise_missing_package("ValueError: no", Path("/env/bin/python")) == ""


def test_the_readme_lists_every_backend():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \|$", readme, re.MULTILINE)
    assert sorted(set(rows) & {*embedded_backends()}) == list(embedded_backends())
    assert f"The embedded server has the backends {', '.join(embedded_backends())}." in readme
