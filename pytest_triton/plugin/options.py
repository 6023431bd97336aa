"""Command line options, each with an ini key to fall back to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Option:
    """A setting. Values stay strings, so that pytest-xdist can ship them to its workers.

    One that may be ``repeated`` has one value a line in the ini file. Of a ``secret`` one no value is ever shown.
    """

    name: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    metavar: str = "VALUE"
    flag: bool = False
    command_line: bool = True
    repeated: bool = False
    secret: bool = False

    @property
    def ini(self) -> str:
        """The ini key."""
        return f"triton_{self.name.replace('-', '_')}"


OPTIONS = {
    option.name: option
    for option in (
        Option(
            "server",
            "auto",
            "where Triton is: auto, embedded (from the nvidia-pytriton wheel), local (tritonserver on PATH), docker "
            "(in a container), or the address of a running one (http://host:port, https, grpc or grpcs; of HTTP and "
            "gRPC both with a comma between them). auto: local if there is one, else docker if an image is named, "
            "else embedded",
            metavar="auto|embedded|local|docker|URL",
        ),
        Option(
            "server-path",
            "",
            "the program of a local server, as in /opt/tritonserver/bin/tritonserver (default: tritonserver on PATH)",
            metavar="PATH",
        ),
        Option(
            "image",
            "",
            "the image of a server in a container (default: nvcr.io/nvidia/tritonserver:26.08-py3)",
            metavar="IMAGE",
        ),
        Option(
            "docker-args",
            "",
            "what docker run would be given for it, as in '--user=1000 --env=NAME=value --shm-size=4g "
            "--network=bridge'; repeatable",
            metavar="'--OPTION=VALUE ...'",
            repeated=True,
            secret=True,
        ),
        Option(
            "server-scope",
            "session",
            "how long a server of ours serves: for the session, a module or a test; the next one gets a new server",
            choices=("session", "module", "test"),
            metavar="session|module|test",
        ),
        Option(
            "gpus",
            "",
            "the GPUs that a server of ours may use and that are measured on: all, none, or some of nvidia-smi -L, as "
            "in 0,1 or GPU-... or MIG-... (default: those that CUDA_VISIBLE_DEVICES leaves)",
            metavar="0,1|all|none",
        ),
        Option("wait", "1h", "longest time to wait for a device that others measure on, as in 10m", metavar="TIME"),
        Option(
            "lease-folder",
            "",
            "folder of the locks by which runs take turns on a device; containers that share one need a folder in "
            "common (default: pytest-triton-leases in the folder for temporary files)",
            metavar="DIR",
        ),
        Option("start-timeout", "60s", "longest time for a server of ours to become ready, as in 5m", metavar="TIME"),
        Option(
            "bind",
            "127.0.0.1",
            "the IPv4 address that a server of ours listens on; 0.0.0.0 is all of this machine's, and whoever reaches "
            "one of them can load models into Triton, which is to run code, without a password",
            metavar="ADDRESS",
        ),
        Option(
            "header",
            "",
            "header for a running server, repeatable; a secret as in 'Authorization: Bearer env:TOKEN', or file:PATH",
            metavar="'NAME: VALUE'",
            repeated=True,
            secret=True,
        ),
        Option("ca", "", "whom to trust over TLS: certificates in a PEM file (default: the system's)", metavar="PEM"),
        Option("cert", "", "our own certificate over TLS, if the server wants one", metavar="PEM"),
        Option("key", "", "the key of our own certificate, unless it is in the same file", metavar="PEM"),
        Option("insecure", "", "over https, do not check the server's certificate", flag=True),
        Option(
            "engine",
            "wire",
            "what sends the load: wire (our own), tritonclient (NVIDIA's Python clients), or perf_analyzer (NVIDIA's "
            "load generator)",
            choices=("wire", "tritonclient", "perf_analyzer"),
            metavar="wire|tritonclient|perf_analyzer",
        ),
        Option(
            "load-workers",
            "auto",
            "processes that share a load; auto: one, and more where it is busy and there are cores to spare",
            metavar="auto|N",
        ),
        Option(
            "perf-analyzer",
            "",
            "Perf Analyzer's binary (default: perf_analyzer on PATH), or docker:IMAGE for that of an image, of which "
            "docker: is NVIDIA's SDK image",
            metavar="PATH|docker:IMAGE",
        ),
        Option("repository", "", "the model repository (default: the one the test file lies in)", metavar="DIR"),
        Option("output", ".triton", "folder for records, logs and winners", metavar="DIR"),
        Option(
            "store",
            "",
            "where records are kept: a file, or the URL of a PostgreSQL database as in postgresql://user@host/name "
            "(default: results.db in the output folder)",
            metavar="URL|PATH",
            secret=True,
        ),
        Option("json", "", "write what the run found to this file", metavar="PATH"),
        Option(
            "benchmark",
            "auto",
            "show measurements to pytest-benchmark: auto, when a --benchmark-* option is given or a test uses its "
            "fixture; or off",
            choices=("auto", "off"),
            metavar="auto|off",
        ),
        Option(
            "inconclusive",
            "warn",
            "what a test that could not be decided does to the exit status: warn, fail or pass",
            choices=("warn", "fail", "pass"),
            metavar="warn|fail|pass",
        ),
        Option("max-duration", "60s", "longest time for one measurement, as in 2m", metavar="TIME"),
        Option(
            "strategy",
            "",
            "how every search goes about it, whatever its marker says: race, exhaustive or optuna",
            choices=("race", "exhaustive", "optuna"),
            metavar="race|exhaustive|optuna",
        ),
        Option("budget", "", "time for each search, as in 10m; what is left is skipped", metavar="TIME"),
        Option("fresh", "", "measure anew what an interrupted search has measured already", flag=True),
        Option("apply-best", "", "install a search's winner in the repository; the original is kept", flag=True),
        Option(
            "config-name",
            "",
            "write a search's winner as configs/NAME.pbtxt, which tritonserver --model-config-name=NAME selects: one "
            "for each kind of GPU",
            metavar="NAME",
        ),
        Option("smoke", "", "one short load per case: does everything work? Judges nothing", flag=True),
        Option(
            "embedded-python",
            "",
            "interpreter that the embedded server runs models with (default: the one that runs pytest)",
            metavar="PATH",
            command_line=False,
        ),
    )
}


def add(parser: pytest.Parser) -> None:
    """Register every option and ini key."""
    group = parser.getgroup("triton", "performance tests on Triton Inference Server")
    for option in OPTIONS.values():
        text = option.help + (f" (default: {option.default})" if option.default else "")
        parser.addini(option.ini, text, default=None)
        if not option.command_line:
            continue
        if option.repeated:
            group.addoption(f"--triton-{option.name}", action="append", default=None, metavar=option.metavar, help=text)
        elif option.flag:
            group.addoption(f"--triton-{option.name}", action="store_const", const="1", default=None, help=text)
        else:
            group.addoption(f"--triton-{option.name}", default=None, metavar=option.metavar, help=text)


def setting(config: pytest.Config, name: str) -> tuple[str, str]:
    """Return the value of a setting and where it comes from: ``command line``, ``ini`` or ``default``."""
    option = OPTIONS[name]
    if option.command_line:
        value = config.getoption(f"triton_{name.replace('-', '_')}", default=None)
        if value is not None:
            written = "\n".join(value) if option.repeated else str(value)
            return _checked(option, written, f"--triton-{name}"), "command line"
    value = config.getini(option.ini)
    if value is not None:
        return _checked(option, str(value).strip(), option.ini), "ini"
    return option.default, "default"


def _checked(option: Option, value: str, written: str) -> str:
    if option.choices and value not in option.choices:
        from difflib import get_close_matches

        meant = [f"; did you mean {word!r}?" for word in get_close_matches(value, option.choices, n=1)]
        raise pytest.UsageError("".join([f"{written}={value} is not one of {', '.join(option.choices)}", *meant]))
    return value


def is_set(config: pytest.Config, name: str) -> bool:
    """Tell whether a flag is set."""
    return setting(config, name)[0].lower() in ("1", "true", "yes", "on")


def is_remote(config: pytest.Config) -> bool:
    """Tell whether the server is one that runs somewhere already."""
    return ":" in setting(config, "server")[0]


def server_kind(config: pytest.Config) -> str:
    """Return what ``--triton-server`` comes to here: a kind of server of ours, or an address."""
    from pytest_triton.server.choice import resolve

    kind, program, image = (setting(config, name)[0] for name in ("server", "server-path", "image"))
    return resolve(kind, program, image)


def folder(config: pytest.Config, name: str) -> Path | None:
    """Make a path setting absolute: an ini key's from the ini file's folder, an option's from where pytest ran."""
    value, source = setting(config, name)
    if not value:
        return None
    base = config.invocation_params.dir if source == "command line" else config.rootpath
    return (base / Path(value).expanduser()).absolute()


def several(config: pytest.Config, name: str) -> list[str]:
    """Return the values of a setting that may be repeated."""
    return [line.strip() for line in setting(config, name)[0].splitlines() if line.strip()]
