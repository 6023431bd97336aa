"""Which GPUs a server may use: ``--triton-gpus``, and how CUDA and Docker are told."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_triton.errors import OptionError
from pytest_triton.server.nvml import Gpu, list_gpus, trouble

VISIBLE = "CUDA_VISIBLE_DEVICES"
_ALL, _NONE = "all", "none"
_WORD = re.compile(r"\d+(:\d+)?|(GPU|MIG)-[0-9A-Za-z/-]+")
_REFUSALS = ("no GPUs are available", "unsupported gpu id")
_HINT = "Write all, none, or GPUs as nvidia-smi -L lists them: --triton-gpus=0,1, GPU-..., MIG-..., or 0:1 for a slice."


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """The ``gpus`` that a server may use and that measurements are taken on.

    ``restricted`` says that whatever else there is is to be hidden from the server.
    """

    gpus: tuple[Gpu, ...] = ()
    restricted: bool = False

    @property
    def uuids(self) -> tuple[str, ...]:
        """What CUDA, NVML and Docker's device requests know them by. Empty: no GPU is asked for."""
        return tuple(gpu.uuid for gpu in self.gpus)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process is to be started with so that CUDA shows it these GPUs, numbered from 0 in this order.

        By UUID: CUDA numbers GPUs by their speed, ``nvidia-smi`` by their slot.
        """
        return {VISIBLE: ",".join(self.uuids) or "-1"} if self.restricted else {}

    def share(self, number: int, of: int) -> GpuChoice:
        """Return the part of one of several processes (``number`` from 0): a GPU each, where there are several."""
        if of < 2 or len(self.gpus) < 2:
            return self
        return GpuChoice((self.gpus[number % len(self.gpus)],), restricted=True)


def check_gpus(wanted: str) -> None:
    """Raise ``OptionError`` where ``wanted`` names no GPUs. Asks no GPU."""
    words = _words(wanted)
    for word in words:
        if not _WORD.fullmatch(word):
            raise OptionError(f"--triton-gpus={wanted}: {word!r} is no GPU", hint=_HINT)
    if wanted.strip() and wanted not in (_ALL, _NONE) and not words:
        raise OptionError(f"--triton-gpus={wanted} names no GPU", hint=_HINT)


def choose_gpus(wanted: str = "", environment: Mapping[str, str] | None = None) -> GpuChoice:
    """Return the GPUs of this machine that ``wanted`` names: ``all``, ``none``, or indices and UUIDs with commas.

    Without a word it is all of those that CUDA_VISIBLE_DEVICES of ``environment`` (by default this process's) leaves.
    A GPU that is sliced (MIG) is named by a slice, or stands for all of its slices. Raises ``OptionError`` for one
    that is not there.
    """
    check_gpus(wanted)
    if wanted == _NONE:
        return GpuChoice(restricted=True)
    present = list_gpus()
    left = (os.environ if environment is None else environment).get(VISIBLE)
    if wanted == _ALL:
        return GpuChoice(present, restricted=bool(present) and left is not None)
    if not wanted:
        return GpuChoice(present if left is None else _visible(left, present))
    return GpuChoice(tuple(dict.fromkeys(gpu for word in _words(wanted) for gpu in _find(word, present))), True)


def advise_gpus(reason: str, choice: GpuChoice) -> str:
    """Say what to do about a ``reason`` of Triton's for refusing a model that has to do with its GPUs, or ""."""
    if not any(sign in reason for sign in _REFUSALS):
        return ""
    if choice.gpus:
        shown = ", ".join(f"{number} is {gpu}" for number, gpu in enumerate(choice.gpus))
        return f"This server sees: {shown}. --triton-gpus says which; with pytest-xdist, each worker has one only."
    if choice.restricted:
        return "--triton-gpus=none hides them; drop it, or give the model KIND_CPU."
    return f"There is no GPU here ({trouble() or 'CUDA_VISIBLE_DEVICES hides them'}): give the model KIND_CPU."


def _words(wanted: str) -> list[str]:
    return [] if wanted in (_ALL, _NONE) else [word.strip() for word in wanted.split(",") if word.strip()]


def _find(word: str, present: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPU, or the slices, that ``word`` names. Of a UUID its beginning is enough, as for CUDA."""
    found = [gpu for gpu in present if gpu.index == word or gpu.index.startswith(f"{word}:")]
    if not found:
        found = [gpu for gpu in present if word.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(word)]
        if len(found) > 1:
            raise OptionError(f"--triton-gpus: {word} is the beginning of several", hint=_list(present))
    if not found:
        raise OptionError(f"--triton-gpus: there is no GPU {word} here", hint=_list(present))
    return found


def _list(present: Sequence[Gpu]) -> str:
    if not present:
        return f"There is none at all ({trouble() or 'NVML lists none'}). Drop the option, or write --triton-gpus=none."
    return "Here are " + ", ".join(f"{gpu.index} ({gpu.name}, {gpu.uuid})" for gpu in present) + "."


def _visible(left: str, present: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return what CUDA_VISIBLE_DEVICES leaves: up to the first word that names nothing, as CUDA does."""
    found: list[Gpu] = []
    for word in (part.strip() for part in left.split(",")):
        try:
            found += _find(word, present) if word else []
        except OptionError:
            break
        if not word:
            break
    return tuple(dict.fromkeys(found))
