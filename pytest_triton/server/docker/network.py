"""How a container's ports are reached: over the host's network, published on loopback, or in our own container's."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_triton.errors import ServerUnavailable
from pytest_triton.server.docker.engine import Engine, asking
from pytest_triton.server.ports import LOOPBACK

HOST, BRIDGE = "host", "bridge"
_SHARED = "container:"
_ID = re.compile(r"/containers/([0-9a-f]{64})/|[/:-]([0-9a-f]{64})(?:\.scope)?$")
_OWN_NETWORK = frozenset({HOST, "none"})


@dataclass(frozen=True, slots=True)
class Network:
    """``mode`` is as in ``docker run --network``; ``published`` says whether ports must be to be reached.

    ``host`` is the machine on which they are reached then, "" for this one.
    """

    mode: str
    published: bool
    host: str = ""

    def __str__(self) -> str:
        if self.mode.startswith(_SHARED):
            return "network of this container"
        published = ", published ports" if self.published else ""
        return f"{self.mode} network{published}" + (f" of {self.host}" if self.host else "")


def choose_network(engine: Engine, wanted: str = "", *, bind: str = LOOPBACK) -> Network:
    """Return the network ``wanted``, or the one over which loopback ports reach the container the shortest way.

    That is the host's, where nothing lies between client and server; that of our own container when pytest runs in
    one of this engine's; and published ports where the engine is in a virtual machine, rootless, or on another machine.
    Raises ``ServerUnavailable`` when that one's ports would be on its own loopback only, by ``bind``, or the container
    would have no network.
    """
    if wanted == "none":
        raise ServerUnavailable(
            "Triton in a container without a network cannot be reached",
            hint="Drop --network=none from --triton-docker-args.",
        )
    if engine.host and bind == LOOPBACK:
        raise ServerUnavailable(
            f"the Docker engine at {engine.address} is on another machine, whose loopback cannot be reached from here",
            hint="Run pytest there, or open Triton to all who reach that machine: --triton-bind=0.0.0.0. Whoever can "
            "load a model into it runs code there.",
        )
    if wanted or engine.host:
        mode = wanted or BRIDGE
        return Network(mode, published=mode != HOST and not mode.startswith(_SHARED), host=engine.host)
    ours = find_own_container(engine)
    if ours is not None:
        return ours
    with asking(engine, "describe itself"):
        about = engine.client.info()
    rootless = any("rootless" in str(option) for option in about.get("SecurityOptions") or ())
    if rootless or "Docker Desktop" in str(about.get("OperatingSystem", "")):
        return Network(BRIDGE, published=True)
    return Network(HOST, published=False)


def find_own_container(engine: Engine) -> Network | None:
    """Return the network of the container that this process runs in, if it is one of ``engine``'s; else None."""
    from docker.errors import NotFound

    for candidate in dict.fromkeys(_candidates()):
        with asking(engine, "look for our own container"):
            try:
                found = engine.client.api.inspect_container(candidate)
            except NotFound:
                continue
        if found["State"].get("Running") and _is_ours(found):
            mode = str(found["HostConfig"].get("NetworkMode", ""))
            return Network(HOST if mode == HOST else f"{_SHARED}{found['Id']}", published=False)
    return None


def _candidates() -> Iterator[str]:
    """Yield what may be the id of the container that this process runs in: from its mounts, groups, and name."""
    for file in ("/proc/self/mountinfo", "/proc/self/cgroup"):
        with suppress(OSError):
            for line in Path(file).read_text(encoding="utf-8", errors="replace").splitlines():
                match = _ID.search(line)
                if match is not None:
                    yield match[1] or match[2]
    name = socket.gethostname()
    if re.fullmatch(r"[0-9a-f]{12}", name):
        yield name


def _is_ours(found: dict[str, object]) -> bool:
    """Tell whether this process is inside: on the host, mounts of containers can be seen from outside."""
    return Path("/.dockerenv").exists() and socket.gethostname() in {
        str(found["Id"])[:12],
        str(found["Config"]["Hostname"]),  # type: ignore[index]
    }
