"""What the options say: values checked and converted, and what the header tells of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_triton.plugin.options import OPTIONS, folder, is_remote, is_set, setting, several

if TYPE_CHECKING:
    from pytest_triton.load.base import TLS
    from pytest_triton.results.place import Place

_MOST_WORKERS = 64
_CONFIG_NAME = re.compile(r"[A-Za-z0-9](?!.*\.pbtxt$)[A-Za-z0-9._-]*")
_PEM = {"authorities": "ca", "certificate": "cert", "key": "key"}


def store(config: pytest.Config) -> Place:
    """Return where records are kept. Raises ``pytest.UsageError``."""
    from pytest_triton.errors import OptionError
    from pytest_triton.results.place import NAME, Place, read_place

    value, source = setting(config, "store")
    if not value:
        output = folder(config, "output")
        assert output is not None
        return Place(path=output / NAME)
    try:
        return read_place(value, config.invocation_params.dir if source == "command line" else config.rootpath)
    except OptionError as error:
        raise pytest.UsageError(f"--triton-store: {error.problem}; {error.hint}") from None


def headers(config: pytest.Config) -> dict[str, str]:
    """Return the headers for a running server, their secrets looked up. Raises ``OptionError``."""
    from pytest_triton.server.headers import read_headers

    _, source = setting(config, "header")
    base = config.invocation_params.dir if source == "command line" else config.rootpath
    return read_headers(several(config, "header"), base=base)


def tls(config: pytest.Config) -> TLS | None:
    """Return how a running server is known over TLS; None where nothing is said of it."""
    named = {name: folder(config, option) for name, option in _PEM.items()}
    insecure = is_set(config, "insecure")
    if not insecure and not any(named.values()):
        return None
    from pytest_triton.load.base import TLS

    return TLS(**{name: str(path) for name, path in named.items() if path is not None}, verify=not insecure)


def duration(config: pytest.Config, name: str) -> float | None:
    """Return a setting that is a time, in seconds; None where it is not set. Raises ``pytest.UsageError``."""
    from pytest_triton.errors import QuantityError
    from pytest_triton.quantities import Unit, parse

    value, _ = setting(config, name)
    if not value:
        return None
    try:
        seconds = parse(value, Unit.SECONDS)
    except QuantityError as error:
        raise pytest.UsageError(f"--triton-{name}: {error.problem}; {error.hint}") from None
    if not seconds:
        raise pytest.UsageError(f"--triton-{name}={value} leaves no time for anything")
    return seconds


def workers(config: pytest.Config) -> int:
    """Return how many processes are to share a load; 0 for as many as it takes. Raises ``pytest.UsageError``."""
    value, _ = setting(config, "load-workers")
    if value == "auto":
        return 0
    if not value.isdecimal() or not 1 <= int(value) <= _MOST_WORKERS:
        raise pytest.UsageError(f"--triton-load-workers={value} is neither auto nor a number from 1 to {_MOST_WORKERS}")
    return int(value)


def gpus(config: pytest.Config) -> str:
    """Return which GPUs are named; whether they are there is found out later. Raises ``pytest.UsageError``."""
    value, source = setting(config, "gpus")
    if source != "default":
        from pytest_triton.server.gpus import check_gpus

        _refuse_unless(check_gpus, value)
    return value


def bind(config: pytest.Config) -> str:
    """Return the address that a server of ours listens on. Raises ``pytest.UsageError``."""
    value, source = setting(config, "bind")
    if source == "default":
        return value
    from ipaddress import AddressValueError, IPv4Address

    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise pytest.UsageError(
            f"--triton-bind={value} is no IPv4 address: 0.0.0.0 for all of this machine's, or one of them as in "
            "192.168.1.5"
        ) from None


def docker_args(config: pytest.Config) -> str:
    """Return what ``docker run`` would be given for a server's container. Raises ``pytest.UsageError``."""
    value, source = setting(config, "docker-args")
    if source != "default":
        from pytest_triton.server.docker.options import parse_options

        _refuse_unless(parse_options, value)
    return value


def _refuse_unless(understood: Callable[[str], object], value: str) -> None:
    from pytest_triton.errors import OptionError

    try:
        understood(value)
    except OptionError as error:
        raise pytest.UsageError(f"{error.problem}; {error.hint}") from None


def check(config: pytest.Config) -> None:
    """Raise ``pytest.UsageError`` for the first setting with an impossible value."""
    if is_remote(config) and "@" in setting(config, "server")[0]:
        # Without it in the message: it may hold a password.
        raise pytest.UsageError(
            "--triton-server: an address carries no name or password; send them in a --triton-header"
        )
    for name in OPTIONS:
        _, source = setting(config, name)
        if name in ("budget", "max-duration", "start-timeout", "wait") and source != "default":
            duration(config, name)
    workers(config)
    bind(config)
    gpus(config)
    docker_args(config)
    name, source = setting(config, "config-name")
    if name and not _CONFIG_NAME.fullmatch(name):
        written = "triton_config_name" if source == "ini" else "--triton-config-name"
        raise pytest.UsageError(
            f"{written}={name} is no name of a configuration: letters, digits, '.', '_' and '-', beginning with a "
            "letter or a digit, and without .pbtxt"
        )
    if setting(config, "store")[0]:
        store(config)


def header(config: pytest.Config) -> list[str]:
    """Say what was chosen and from where; nothing when all is as by default."""
    chosen = [(name, *setting(config, name)) for name in OPTIONS]
    told = [
        f"{name} ({source})" if OPTIONS[name].flag or OPTIONS[name].secret else f"{name} {value} ({source})"
        for name, value, source in chosen
        if source != "default"
    ]
    lines = [f"triton: {', '.join(told)}"] if told else []
    if not bind(config).startswith("127.") and not is_remote(config):
        lines.append(
            f"triton: whoever reaches {bind(config)} over the network can load models into the server, which is to run "
            "code on this machine: Triton asks for no password"
        )
    return lines
