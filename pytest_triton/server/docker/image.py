"""The image: there, or pulled with the progress shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import ServerUnavailable
from pytest_triton.quantities import Unit, show
from pytest_triton.server.docker.engine import SERVER, Engine, Purpose, asking

if TYPE_CHECKING:
    from docker.models.images import Image

OFFICIAL = SERVER.example
_TELL_EVERY = 0.2
_UNKNOWN = ("not found", "manifest unknown", "does not exist", "denied", "invalid reference format", "unauthorized")


def find_image(engine: Engine, name: str, tell: Callable[[str], None]) -> Image:
    """Return the image ``name``, pulled if the engine does not have it; ``tell`` is told how far that is.

    Raises ``ServerUnavailable`` when there is no such image, or none can be pulled.
    """
    from docker.errors import ImageNotFound

    with asking(engine, f"look for the image {name}"):
        try:
            return engine.client.images.get(name)
        except ImageNotFound:
            pass
    _pull(engine, name, tell)
    with asking(engine, f"find the image {name} that it has pulled"):
        return engine.client.images.get(name)


def _pull(engine: Engine, name: str, tell: Callable[[str], None]) -> None:
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    progress = Pull()
    told = 0.0
    tell(f"pulling {name}")
    with asking(engine, f"pull the image {name}"):
        try:
            for step in engine.client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if "error" in step:
                    raise _no_image(engine.purpose, name, str(step["error"]))
                progress.note(step)
                if time.monotonic() - told > _TELL_EVERY:
                    told = time.monotonic()
                    tell(f"pulling {name}{progress}")
            tell(f"pulled {name}{progress}")
        except APIError as error:
            raise _no_image(engine.purpose, name, str(error.explanation or error)) from error


class Pull:
    """How far a pull is: what is downloaded and unpacked of the layers known so far."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def note(self, step: Mapping[str, Any]) -> None:
        """Take in one line of what the engine says."""
        status, layer = str(step.get("status", "")), str(step.get("id", ""))
        detail = step.get("progressDetail") or {}
        known = self._layers.get(layer, _Layer())
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = _Layer(int(detail["total"]), int(detail.get("current", 0)))
        elif status in {"Download complete", "Verifying Checksum", "Extracting"} and layer in self._layers:
            self._layers[layer] = _Layer(known.total, known.total)
        elif status == "Pull complete" and layer in self._layers:
            self._layers[layer] = _Layer(known.total, known.total, unpacked=True)

    def __str__(self) -> str:
        if not self._layers:
            return ""
        layers = self._layers.values()
        here, total = sum(layer.here for layer in layers), sum(layer.total for layer in layers)
        unpacked = sum(layer.unpacked for layer in layers)
        return f": {show(here, Unit.BYTES)} of {show(total, Unit.BYTES)}, {unpacked} of {len(layers)} layers unpacked"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Sizes in bytes."""

    total: int = 0
    here: int = 0
    unpacked: bool = False


def _no_image(purpose: Purpose, name: str, said: str) -> ServerUnavailable:
    if any(word in said for word in _UNKNOWN):
        return ServerUnavailable(
            f"there is no image {name} to be pulled: {said}",
            hint=f"Name one, as in {purpose.option}{purpose.example}; a private one needs docker login before.",
        )
    return ServerUnavailable(
        f"the image {name} is not here and cannot be pulled: {said}",
        hint="Is there a network, and does it reach the registry? docker load brings an image in without one; docker "
        "images lists those that are here.",
    )
