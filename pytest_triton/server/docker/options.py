"""What is asked for beside Triton's usual container, in the words of ``docker run``."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pytest_triton.errors import OptionError, nearest

OPTION = "--triton-docker-args"
SHM_SIZE = "1g"
ULIMITS = {"memlock": "-1", "stack": "67108864"}
"""What Triton's documentation recommends, with at least a gigabyte of shared memory."""

_OURS = {
    "--detach": "the container is ours to start and to end",
    "--entrypoint": "the image's own is what Triton is started with",
    "--interactive": "the container's input is ours, to end it with",
    "--name": "the container's name is ours, to find and remove it",
    "--publish": "ports are chosen, and published on this machine alone",
    "--publish-all": "ports are chosen, and published on this machine alone",
    "--restart": "the container is ours to start and to end",
    "--rm": "the container is removed anyway",
    "--tty": "the container's output is kept as server.log",
}
_SHORT = {"-d": "--detach", "-i": "--interactive", "-p": "--publish", "-P": "--publish-all", "-t": "--tty"}


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """``create`` are arguments of the SDK's ``containers.create``; ``network`` as in ``docker run``, "" if not said."""

    create: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""


def parse_options(
    text: str, environment: Mapping[str, str] = os.environ, *, limits: Mapping[str, str] = ULIMITS
) -> ContainerOptions:
    """Read options of ``docker run``, over several lines or in one, with what Triton recommends where they are silent.

    ``limits`` are the recommended ones. A variable without a value (``--env TOKEN``) takes that of ``environment``.
    Raises ``OptionError``.
    """
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise OptionError(f"{OPTION} cannot be read: {error}", hint="Quote it as for a shell.") from error
    parser = _Parser()
    for long in _LISTS:
        parser.add_argument(long, *_SHORTS.get(long, ()), action="append", default=[])
    for long in _SINGLE:
        parser.add_argument(long, *_SHORTS.get(long, ()))
    for long in _SWITCHES:
        parser.add_argument(long, action="store_true")
    found = vars(parser.read(words))
    create: dict[str, Any] = {}
    for long, (name, convert) in _SINGLE.items():
        value = found[_key(long)]
        if value is not None and name:
            create[name] = _converted(long, value, convert)
    for long, name in _LISTS.items():
        if name and found[_key(long)]:
            create[name] = found[_key(long)]
    create |= {_key(long): True for long in _SWITCHES if found[_key(long)]}
    variables = _variables(found["env_file"], found["env"], environment)
    if variables:
        create["environment"] = variables
    if found["label"]:
        create["labels"] = dict(_pair(each) for each in found["label"])
    if found["add_host"]:
        create["extra_hosts"] = dict(_split("--add-host", each, ":") for each in found["add_host"])
    if found["tmpfs"]:
        create["tmpfs"] = {path: options for path, _, options in (each.partition(":") for each in found["tmpfs"])}
    if not str(found["ipc"]).startswith(("host", "container:")):
        create.setdefault("shm_size", SHM_SIZE)
    if found["gpus"]:
        create["device_requests"] = [_gpus(found["gpus"])]
    create["ulimits"] = _ulimits(found["ulimit"], limits)
    return ContainerOptions(create, found["network"] or "")


def _text(value: str) -> str:
    return value


def _cpus(value: str) -> int:
    return int(float(value) * 1_000_000_000)


def _size(value: str) -> str:
    from docker.utils import parse_bytes

    parse_bytes(value)
    return value


# docker run's name -> the SDK's, and how the value is read. Without a name it is read further up.
_SINGLE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--cgroup-parent": ("cgroup_parent", _text),
    "--cpus": ("nano_cpus", _cpus),
    "--cpu-shares": ("cpu_shares", int),
    "--cpuset-cpus": ("cpuset_cpus", _text),
    "--cpuset-mems": ("cpuset_mems", _text),
    "--gpus": ("", _text),
    "--hostname": ("hostname", _text),
    "--ipc": ("ipc_mode", _text),
    "--memory": ("mem_limit", _size),
    "--memory-swap": ("memswap_limit", _size),
    "--network": ("", _text),
    "--oom-score-adj": ("oom_score_adj", int),
    "--pid": ("pid_mode", _text),
    "--pids-limit": ("pids_limit", int),
    "--platform": ("platform", _text),
    "--runtime": ("runtime", _text),
    "--shm-size": ("shm_size", _size),
    "--user": ("user", _text),
    "--userns": ("userns_mode", _text),
    "--workdir": ("working_dir", _text),
}
_LISTS = {
    "--add-host": "",
    "--cap-add": "cap_add",
    "--cap-drop": "cap_drop",
    "--device": "devices",
    "--dns": "dns",
    "--env": "",
    "--env-file": "",
    "--group-add": "group_add",
    "--label": "",
    "--security-opt": "security_opt",
    "--tmpfs": "",
    "--ulimit": "",
    "--volume": "volumes",
}
_SWITCHES = ("--privileged", "--read-only")
_SHORTS = {
    "--cpu-shares": ("-c",),
    "--env": ("-e",),
    "--hostname": ("-h",),
    "--label": ("-l",),
    "--memory": ("-m",),
    "--network": ("--net",),
    "--user": ("-u",),
    "--volume": ("-v",),
    "--workdir": ("-w",),
}


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        super().__init__(prog=OPTION, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{OPTION}: {message}", hint="It takes what docker run takes.")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse ``words``. Raises ``OptionError`` for one that is unknown, or that is ours to say."""
        for word in words:
            name = word.partition("=")[0]
            long = _SHORT.get(name, name)
            if long in _OURS:
                raise OptionError(f"{OPTION}: {name} is not for you to say: {_OURS[long]}", hint="Drop it.")
        found, unknown = self.parse_known_args(words)
        if unknown:
            raise OptionError(
                f"{OPTION}: {unknown[0].partition('=')[0]} is no option that is known here",
                hint=f"Of docker run's: {nearest(unknown[0].partition('=')[0], [*_SINGLE, *_LISTS, *_SWITCHES])}",
            )
        return found


def _key(long: str) -> str:
    return long.removeprefix("--").replace("-", "_")


def _converted(long: str, value: str, convert: Callable[[str], Any]) -> Any:
    from docker.errors import DockerException

    try:
        return convert(value)
    except (ValueError, OverflowError, DockerException) as error:
        raise OptionError(
            f"{OPTION}: {long}={value} is not what {long} takes",
            hint="It is a number, or a size as in 2g.",
        ) from error


def _variables(files: Sequence[str], words: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{OPTION}: --env-file={file} cannot be read: {error}", hint="Name a file.") from error
    written = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    variables: dict[str, str] = {}
    for each in (*written, *words):
        name, equals, value = each.partition("=")
        if equals:
            variables[name] = value
        elif name in environment:
            variables[name] = environment[name]
    return variables


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _split(long: str, text: str, mark: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name or not value:
        raise OptionError(f"{OPTION}: {long}={text} is not NAME{mark}VALUE", hint="Write it as for docker run.")
    return name, value


def _gpus(text: str) -> Any:
    """Return the request for GPUs that pytest itself may not see: ``all``, a number of them, or ``device=0,1``."""
    from docker.types import DeviceRequest

    capabilities = [["gpu"]]
    plain = text.strip('"')
    if plain.startswith("device="):
        return DeviceRequest(device_ids=plain.removeprefix("device=").split(","), capabilities=capabilities)
    if plain != "all" and not plain.isdecimal():
        raise OptionError(f"{OPTION}: --gpus={text} is none of all, a number, and device=0,1")
    return DeviceRequest(count=-1 if plain == "all" else int(plain), capabilities=capabilities)


def _ulimits(words: Sequence[str], recommended: Mapping[str, str]) -> list[Any]:
    """Return limits as the SDK takes them; ``words`` are NAME=SOFT[:HARD]."""
    from docker.types import Ulimit

    limits = {**recommended, **dict(_split("--ulimit", each, "=") for each in words)}
    made = []
    for name, value in limits.items():
        soft, _, hard = value.partition(":")
        try:
            made.append(Ulimit(name=name, soft=int(soft), hard=int(hard or soft)))
        except ValueError as error:
            raise OptionError(f"{OPTION}: --ulimit={name}={value} is not a number, or two with a colon") from error
    return made
