"""The arguments that a ``tritonserver`` of ours is launched with: ours, and the user's on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pytest_triton.errors import OptionError, ServerStartError
from pytest_triton.server.base import Endpoints
from pytest_triton.server.ports import LOOPBACK, choose_ports, holder, is_free

EXIT_TIMEOUT = 2
# Four times as often as by default: GPU figures are fresher, and the server's exit, which waits for it, is faster.
METRICS_INTERVAL_MS = 500
PORTS = ("http-port", "grpc-port", "metrics-port")
SHM_PREFIX = "shm-region-prefix-name"
EVERYWHERE = frozenset({"0.0.0.0", "::", ""})


@dataclass(frozen=True, slots=True)
class LaunchArguments:
    """A command line for ``tritonserver`` without the program, and where the server will listen.

    ``log_file`` is where the user's own ``--log-file`` sends the log. ``ports_are_ours`` is False when every port
    was the user's choice, so that choosing again cannot help.
    """

    words: tuple[str, ...]
    endpoints: Endpoints
    server_id: str
    log_file: Path | None
    ports_are_ours: bool


def make_arguments(
    own: Mapping[str, str],
    *,
    repositories: Sequence[PurePath],
    shm_prefix: str,
    bind: str = LOOPBACK,
    host: str = "",
    user: Sequence[str] = (),
) -> LaunchArguments:
    """Join our arguments, those of the kind of server (``own``) and the user's, which win.

    ``own`` maps an argument's name without dashes to its value. ``bind`` is the address to listen on; where ``own``
    has the server listen at another one, in a network of its own, it is where that is reached. ``host`` is the name of
    the machine it runs on, "" for this one. Raises ``OptionError`` for a user's argument that the server cannot work
    with here, ``ServerStartError`` when a port that the user chose is taken.
    """
    theirs = split_arguments(user)
    _refuse_impossible(theirs)
    single = dict(theirs)
    addresses = [name.replace("-port", "-address") for name in PORTS]
    chosen = dict(zip(PORTS, choose_ports(len(PORTS), LOOPBACK if host else bind), strict=True))
    defaults = {
        "id": shm_prefix,
        "model-control-mode": "explicit",
        **dict.fromkeys(addresses, bind),
        **{name: str(port) for name, port in chosen.items()},
        "exit-timeout-secs": str(EXIT_TIMEOUT),
        "metrics-interval-ms": str(METRICS_INTERVAL_MS),
        **own,
    }
    words = [f"--model-repository={repository}" for repository in repositories]
    words += [f"--{name}={value}" for name, value in defaults.items() if name not in single]
    words.append(f"--backend-config=python,{SHM_PREFIX}={shm_prefix}")
    words += [f"--{name}={value}" if value is not None else f"--{name}" for name, value in theirs]
    for name in PORTS:
        if name in single and _is_on(single, name) and not host:
            _require_free(name, single.get(name), single.get(name.replace("-port", "-address")) or bind)
    settings = {**defaults, **dict.fromkeys(addresses, bind), **{name: value or "" for name, value in theirs}}
    settings |= dict.fromkeys(addresses, host) if host else {}
    return LaunchArguments(
        words=tuple(words),
        endpoints=Endpoints(
            http=_endpoint(settings, "http"),
            grpc=_endpoint(settings, "grpc") if _is_on(single, "grpc-port") else None,
            metrics=_endpoint(settings, "metrics") if _is_on(single, "metrics-port") else None,
        ),
        server_id=settings["id"],
        log_file=Path(settings["log-file"]) if settings.get("log-file") else None,
        ports_are_ours=any(name not in single for name in PORTS if _is_on(single, name)),
    )


def split_arguments(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Split a command line into names and values: ``--a=1 --b 2 --c`` is ``a: 1, b: 2, c: None``.

    Raises ``OptionError`` for a word that belongs to no argument.
    """
    pairs: list[tuple[str, str | None]] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            pairs.append((name, value if equals else None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], word)
        else:
            raise OptionError(
                f"server argument {word!r} belongs to no --name",
                hint="Write each one as '--name=value'.",
            )
    return pairs


def _refuse_impossible(theirs: Sequence[tuple[str, str | None]]) -> None:
    for name, value in theirs:
        if name == "model-control-mode" and value != "explicit":
            raise OptionError(
                f"server argument --{name}={value}: models are loaded one by one, with configurations of their own",
                hint="Drop it; --load-model=NAME still loads a model at the start.",
            )
        if name == "allow-http" and not _truth(value):
            raise OptionError(
                "server argument --allow-http=false: the server is controlled over HTTP", hint="Drop the argument."
            )
        if name == "backend-config" and value is not None and SHM_PREFIX in value:
            raise OptionError(
                f"server argument --{name}={value}: the prefix is ours, to find and remove the blocks",
                hint="Drop the argument.",
            )


def _truth(value: str | None) -> bool:
    return value is None or value.strip().lower() in {"true", "1", "on"}


def _is_on(single: Mapping[str, str | None], port: str) -> bool:
    switch = f"allow-{port.removesuffix('-port')}"
    return switch not in single or _truth(single[switch])


def _endpoint(settings: Mapping[str, str], service: str) -> str:
    host = settings[f"{service}-address"]
    return f"{LOOPBACK if host in EVERYWHERE else host}:{settings[f'{service}-port']}"


def _require_free(name: str, value: str | None, host: str) -> None:
    if value is None or not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
        raise OptionError(f"server argument --{name}={value}: a port is a number from 1 to 65535")
    if is_free(int(value), host):
        return
    who = holder(int(value))
    raise ServerStartError(
        f"port {value} is taken" + (f" by {who}" if who else ""),
        hint=f"End what holds it, or drop --{name}={value}: a free port is chosen then.",
    )
