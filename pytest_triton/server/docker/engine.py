"""The Docker engine: which one, how to talk to it, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_triton.errors import ServerError, ServerUnavailable

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.errors import APIError

DEFAULT = "unix:///var/run/docker.sock"
OLDEST_API = (1, 41)
"""Docker 20.10."""
TIMEOUT = 60
"""Seconds for one answer of the engine, and for each piece of a long one."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an engine is used for, by what errors advise.

    ``option`` names the image, which is one with ``content`` in it, and ``example`` is one. ``arguments`` is how more
    is asked of the container, and ``instead`` what there is without Docker.
    """

    content: str
    option: str
    example: str
    arguments: str
    instead: str


SERVER = Purpose(
    content="Triton",
    option="--triton-image=",
    example="nvcr.io/nvidia/tritonserver:26.08-py3",
    arguments="What is asked for beside Triton's usual container stands in --triton-docker-args.",
    instead="Or use another server: --triton-server=embedded, local, or the address of a running one.",
)


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine that answers. ``address`` is as in DOCKER_HOST."""

    client: DockerClient
    address: str
    purpose: Purpose = SERVER

    @property
    def host(self) -> str:
        """The name of the machine it is on, as far as its address tells; "" for this one."""
        url = urlsplit(self.address)
        local = url.scheme in {"unix", "npipe", "http+unix"} or url.hostname in _LOOPBACK
        return "" if local else url.hostname or ""

    def close(self) -> None:
        """Close all connections."""
        self.client.close()


def connect(purpose: Purpose = SERVER, *, timeout: int = TIMEOUT) -> Engine:
    """Connect to the engine that the command ``docker`` would use: DOCKER_HOST's, else that of the current context.

    Raises ``ServerUnavailable`` with what is missing.
    """
    try:
        from docker import DockerClient
        from docker.errors import DockerException
    except ImportError as error:
        raise ServerUnavailable(
            f"Docker is talked to by the package docker, which cannot be imported: {error}",
            hint="Install it: pip install docker.",
        ) from error
    address = os.environ.get("DOCKER_HOST", "")
    try:
        if address:
            client = DockerClient.from_env(timeout=timeout)
        else:
            from docker.context import ContextAPI

            context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
            address = (context.Host if context is not None else "") or DEFAULT
            tls = context.TLSConfig if context is not None else None
            client = DockerClient(base_url=address, version="auto", tls=tls or False, timeout=timeout)
    except (DockerException, OSError, ValueError) as error:
        raise _no_engine(error, address or DEFAULT, purpose.instead) from error
    engine = Engine(client, address, purpose)
    version = str(client.api.api_version)
    if tuple(int(part) for part in version.split(".")) < OLDEST_API:
        engine.close()
        raise ServerUnavailable(
            f"the Docker engine at {address} is too old: it speaks version {version} of Docker's API",
            hint=f"Docker 20.10 or newer is needed. {purpose.instead}",
        )
    return engine


@contextmanager
def asking(engine: Engine, what: str, *, image: str = "") -> Iterator[None]:
    """Turn what goes wrong in the ``with`` block into a ``ServerError``; ``what`` completes "Docker cannot ..."."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise explain(error, engine.purpose, what, image=image) from error
    except (DockerException, RequestException, OSError) as error:
        raise ServerError(
            f"the Docker engine at {engine.address} cannot {what}: {_reason(error)}",
            hint="Does it still run? docker info tells.",
        ) from error


def explain(error: APIError, purpose: Purpose, what: str, *, image: str = "") -> ServerUnavailable:
    """Say what the engine's refusal to do ``what`` means, and what to do about it."""
    said = str(error.explanation or error).strip()
    problem = f"Docker cannot {what}: {said}"
    if "could not select device driver" in said and "gpu" in said:
        return ServerUnavailable(
            f"Docker cannot {what} with GPUs: it has no NVIDIA runtime ({said})",
            hint="Install the NVIDIA Container Toolkit and restart Docker, or go without: --triton-gpus=none, and no "
            "--gpus in --triton-docker-args.",
        )
    if "nvidia-container-cli" in said:
        hint = f"The driver does not fit the image: update it, or name an older image with {purpose.option}IMAGE."
    elif "executable file not found" in said or "no such file or directory" in said:
        what = f"an image with {purpose.content} in it, and with a shell"
        hint = f"Is {image} {what}? Name one with {purpose.option}IMAGE."
    elif "invalid reference format" in said:
        hint = f"An image is named as in {purpose.option}{purpose.example}."
    elif "unable to find user" in said or "no matching entries in passwd" in said:
        hint = "--user in --triton-docker-args names a user of the image, or a number."
    elif "no space left on device" in said:
        hint = "Free some space: docker system df shows what Docker holds, docker system prune removes what is unused."
    else:
        hint = purpose.arguments
    return ServerUnavailable(problem, hint=hint)


def _no_engine(error: Exception, address: str, instead: str) -> ServerUnavailable:
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return ServerUnavailable(
            f"no permission to use the Docker engine at {address}",
            hint="Become a member of the group docker (sudo usermod -aG docker $USER, then log in anew), or run a "
            f"rootless Docker. {instead}",
        )
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes):
        return ServerUnavailable(
            f"no Docker engine answers at {address}",
            hint=f"Start it (sudo systemctl start docker), or say where it is in DOCKER_HOST. {instead}",
        )
    return ServerUnavailable(
        f"the Docker engine at {address} cannot be used: {_reason(error)}",
        hint=f"Is it where DOCKER_HOST, or docker context show, says? {instead}",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it wraps, in its arguments as well."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            waiting += [each.__cause__, each.__context__, *(arg for arg in each.args if isinstance(arg, BaseException))]


def _reason(error: Exception) -> str:
    """Return the last of an error's causes that says something."""
    said = [str(cause) for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    return said[-1] if said else str(error)
