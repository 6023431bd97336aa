"""Dependencies point one way, and the plugin costs a pytest run that does not use it next to nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_triton

PACKAGE = Path(pytest_triton.__file__).parent

ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "secrecy", "files", "owner"),
    ("quantities",),
    ("metrics",),
    ("observation", "slo", "clustering", "correctness"),
    ("statistics", "gpu_usage"),
    ("case", "exceedance", "windows", "series"),
    ("validity", "slo_rules"),
    ("measurement",),
    ("verdict",),
    ("breakdown", "repository", "load", "search"),
    ("server",),  # server -> repository is the one way between siblings
    ("lease", "composing", "neighbours", "tail", "room", "switching", "crash"),
    ("verification",),
    ("preparation",),
    ("deployment", "sizing"),
    ("opening", "onnx_reference", "examination"),
    ("protocol", "reference"),
    ("bench",),
    ("exploration",),
    ("blocks", "lineup"),
    ("rounds",),
    ("compare", "confirmation"),
    ("results",),
    ("report",),
    ("command",),
    ("plugin",),
)
"""What stands in a later line may import what stands in an earlier one, and itself. Nothing else."""
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}

HEAVY = (
    "numpy",
    "scipy",
    "grpc",
    "docker",
    "onnx",
    "onnxruntime",
    "tritonclient",
    "google.protobuf",
    "psutil",
    "sqlalchemy",
)


def modules() -> list[Path]:
    """Every module of the package; the backends that we ship run in Triton's interpreter and import nothing of ours."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "backends" not in path.parts]


def part_of(path: Path) -> str:
    """The part of the package a module belongs to: a folder, or the module itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that ``path`` names in an import, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            if node.module == "pytest_triton":
                yield from (f"pytest_triton.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        assert not any(name.startswith("pytest_triton.plugin") for name in imports(path))
        return
    assert part in LEVEL, f"say in ORDER where {part} stands"
    for name in imports(path):
        if not name.startswith("pytest_triton."):
            continue
        other = name.split(".")[1]
        assert other in LEVEL, f"{path} imports {name}; the package's own names are for users"
        assert other == part or LEVEL[other] < LEVEL[part], f"{part} imports {name}, which does not stand below it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_plugin_imports_pytest(path: Path) -> None:
    if part_of(path) != "plugin":
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"pytest", "_pytest", "pluggy", "xdist", "pytest_benchmark"}


@pytest.mark.parametrize(
    "module",
    [
        "",
        "plugin",
        "errors",
        "quantities",
        "metrics",
        "observation",
        "slo",
        "case",
        "measurement",
        "verdict",
        "breakdown",
    ],
)
def test_what_every_run_imports_is_light(module: str) -> None:
    name = f"pytest_triton.{module}".rstrip(".")
    program = f"import sys, {name}; print(*(m for m in {HEAVY} if m in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == []
