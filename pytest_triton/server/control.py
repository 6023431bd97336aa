"""The control plane of a Triton over HTTP, the same for every kind of server: load, configuration, statistics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_triton.errors import RequestError, ServerDied, ServerError
from pytest_triton.observation import ServerStatistics
from pytest_triton.server import log as server_log
from pytest_triton.server.refusal import advise_access, advise_process, clean_reason, make_refusal, no_answer
from pytest_triton.server.tensors import HEADER_LENGTH, decode_response, encode_request
from pytest_triton.server.transport import NO_HEADERS, Reply, Unreachable, ask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from pytest_triton.load.base import TLS
    from pytest_triton.server.base import Control

LOAD_TIMEOUT = 900.0
REQUEST_TIMEOUT = 120.0
"""Twice what a load gives a request: the first one after a model was loaded may have something to compile."""
ANSWER_TIMEOUT = 30.0
PROBE_TIMEOUT = 5.0
UNLOAD_POLL = 0.01
_GATEWAY = (502, 503, 504)


class ModelControl:
    """Ask a Triton to load, unload and describe models.

    ``address`` is ``host:port`` of its HTTP endpoint. ``headers`` go along with every question, over TLS if there is
    ``tls``. ``timeout`` (seconds) bounds a load and an unload, which take minutes for large models, ``request_timeout``
    an inference.
    ``log`` is the server's log, where it can be read: some reasons stand only there. ``check`` is called when the
    server does not answer: it raises ``ServerDied`` with the log if it knows that it died. ``advise`` turns Triton's
    reason for refusing a model into what to do about it ("" for nothing to say).
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = LOAD_TIMEOUT,
        request_timeout: float = REQUEST_TIMEOUT,
        headers: Mapping[str, str] = NO_HEADERS,
        tls: TLS | None = None,
        log: Path | None = None,
        check: Callable[[], None] | None = None,
        advise: Callable[[str], str] | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.request_timeout = request_timeout
        self._headers = headers
        self._tls = tls
        self._log = log
        self._check = check
        self._advise = advise

    def trouble(self) -> str:
        """Say why no live server answers here, with what to do about it if that is clear; empty when one does."""
        try:
            reply = ask(
                self.address, "GET", "/v2/health/live", headers=self._headers, timeout=PROBE_TIMEOUT, tls=self._tls
            )
        except Unreachable as error:
            return error.reason
        if reply.ok:
            return ""
        return f"HTTP status {reply.status}: {reply.reason}. {_advise(reply)}".rstrip(". ")

    def server_live(self) -> bool:
        """Say whether the server answers at all."""
        return self._health("/v2/health/live")

    def server_ready(self) -> bool:
        """Say whether the server says that it is ready."""
        return self._health("/v2/health/ready")

    def server_metadata(self) -> dict[str, Any]:
        """Return the server's ``name``, ``version`` and ``extensions``."""
        return dict(self._get("/v2"))

    def index(self) -> list[dict[str, Any]]:
        """List the models of the repository: ``name``, and ``version``, ``state``, ``reason`` where known."""
        reply = self._ask("POST", "/v2/repository/index", body=b"{}", timeout=min(self.timeout, ANSWER_TIMEOUT))
        self._require(reply, "the repository's index cannot be read")
        return list(reply.json() or ())

    def load(self, model: str, configuration: ModelConfig | None = None) -> float:
        """Load ``model``, with ``configuration`` instead of its config.pbtxt if given; return the seconds it took.

        Triton changes a READY model in place where only instances differ, and keeps the previous one serving when
        the load fails. Raises ``ModelLoadError`` with Triton's reason, ``ServerDied`` when the server went away.
        """
        body = b"{}"
        if configuration is not None:
            body = json.dumps({"parameters": {"config": configuration_as_json(model, configuration)}}).encode()
        written = server_log.measure(self._log)
        began = time.monotonic()
        reply = self._ask(
            "POST", f"/v2/repository/models/{quote(model, safe='')}/load", body=body, timeout=self.timeout, model=model
        )
        if not reply.ok:
            raise self._refused(model, reply, "load", written)
        return time.monotonic() - began

    def unload(self, model: str) -> None:
        """Unload ``model`` and wait until it is gone. A model that is not loaded is none to unload."""
        self.begin_unload(model)
        wait_until_gone(model, self.index, self.timeout)

    def begin_unload(self, model: str) -> None:
        """Tell Triton to unload ``model`` and do not wait for it."""
        path = f"/v2/repository/models/{quote(model, safe='')}/unload"
        reply = self._ask("POST", path, body=b"{}", timeout=self.timeout, model=model)
        if not reply.ok:
            raise self._refused(model, reply, "unload")

    def configuration(self, model: str) -> ModelConfig:
        """Return the configuration that the loaded ``model`` runs with, all defaults filled in by Triton."""
        from pytest_triton.repository.configuration import from_json

        return from_json(self._get(f"/v2/models/{quote(model, safe='')}/config", model=model))

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the loaded model's ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs``."""
        return dict(self._get(f"/v2/models/{quote(model, safe='')}", model=model))

    def model_ready(self, model: str) -> bool:
        """Say whether ``model`` can be asked."""
        return self._health(f"/v2/models/{quote(model, safe='')}/ready")

    def statistics(self, model: str) -> ServerStatistics:
        """Return Triton's statistics of ``model`` since it was loaded, all versions added up."""
        return add_up_statistics(self._get(f"/v2/models/{quote(model, safe='')}/stats", model=model))

    def all_statistics(self) -> dict[str, ServerStatistics]:
        """Return Triton's statistics of every model that is loaded, each one's versions added up."""
        return add_up_by_model(self._get("/v2/models/stats").get("model_stats", ()))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[np.generic]],
        datatypes: Mapping[str, str],
        *,
        parameters: Mapping[str, str | int | bool] | None = None,
    ) -> dict[str, NDArray[np.generic]]:
        """Send one request, with its ``parameters``, and return all outputs.

        Raises ``RequestError`` with Triton's message, or when there is no answer within ``request_timeout``.
        """
        body, header_length = encode_request(inputs, datatypes, parameters=parameters, model=model)
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(header_length)}
        reply = self._ask(
            "POST",
            f"/v2/models/{quote(model, safe='')}/infer",
            body=body,
            headers=headers,
            timeout=self.request_timeout,
            model=model,
            late=no_answer(model, self.request_timeout),
        )
        if not reply.ok:
            first, *rest = (line for line in clean_reason(reply.reason).splitlines() if line.strip())
            raise RequestError(
                f"{model} answered a request with an error: {first}",
                model=model,
                details=rest,
                hint=advise_process(first) or _advise(reply),
            )
        length = reply.headers.get(HEADER_LENGTH.lower())
        return decode_response(reply.body, int(length) if length else None, model=model)

    @property
    def release_route(self) -> Mapping[str, Any]:
        """How another process has regions of memory forgotten, as ``load.regions.release`` takes it."""
        tls = None if self._tls is None else asdict(self._tls)
        return {"address": self.address, "headers": dict(self._headers), "tls": tls}

    def register_memory(self, kind: str, name: str, registration: Mapping[str, Any]) -> None:
        """Have the server map a region of ``system`` or ``cuda`` memory. Raises ``RequestError`` when it does not."""
        self._memory(kind, f"/region/{quote(name, safe='')}/register", json.dumps(registration).encode())

    def unregister_memory(self, kind: str, name: str) -> None:
        """Have the server forget a region of memory, if it knows it."""
        self._memory(kind, f"/region/{quote(name, safe='')}/unregister", b"{}")

    def registered_memory(self, kind: str) -> list[str]:
        """List the names of the regions of ``system`` or ``cuda`` memory that the server maps."""
        return [str(region["name"]) for region in self._get(f"/v2/{kind}sharedmemory/status") or ()]

    def _memory(self, kind: str, path: str, body: bytes) -> None:
        reply = self._ask("POST", f"/v2/{kind}sharedmemory{path}", body=body, timeout=ANSWER_TIMEOUT)
        self._require(reply, f"the server refused POST /v2/{kind}sharedmemory{path}")

    def _health(self, path: str) -> bool:
        try:
            return ask(self.address, "GET", path, headers=self._headers, timeout=PROBE_TIMEOUT, tls=self._tls).ok
        except Unreachable:
            return False

    def _get(self, path: str, *, model: str = "") -> Any:
        reply = self._ask("GET", path, timeout=min(self.timeout, ANSWER_TIMEOUT), model=model)
        self._require(reply, f"the server refused GET {path}", model=model)
        return reply.json()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: bytes | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        model: str = "",
        late: ServerError | None = None,
    ) -> Reply:
        try:
            return ask(
                self.address,
                method,
                path,
                body=body,
                headers={**self._headers, **headers},
                timeout=timeout,
                tls=self._tls,
            )
        except Unreachable as error:
            if error.timed_out:
                raise late or ServerError(
                    f"the server at {self.address} did not answer {method} {path} within {timeout:g} s",
                    model=model,
                    hint="Read its log: a load may hang, or the machine may be out of memory.",
                ) from error
            if self._check is not None:
                self._check()
            raise ServerDied(
                f"the server at {self.address} is gone: {error.reason}",
                model=model,
                hint="Read its log for the reason.",
            ) from error

    @staticmethod
    def _require(reply: Reply, problem: str, *, model: str = "") -> None:
        if not reply.ok:
            raise RequestError(f"{problem}: {reply.reason}", model=model, hint=_advise(reply))

    def _refused(self, model: str, reply: Reply, action: str, written: int = 0) -> ServerError:
        return make_refusal(
            reply.reason,
            model=model,
            action=action,
            address=self.address,
            log=self._log,
            written=written,
            advise=self._advise,
        )


def _advise(reply: Reply) -> str:
    """Say what to do about a status that is a proxy's and not Triton's; "" for others."""
    advice = advise_access(str(reply.status))
    if not advice and reply.status in _GATEWAY and not reply.from_triton:
        return "A proxy answers in the server's place: does the server behind it run?"
    return advice


def wait_until_gone(model: str, index: Callable[[], list[dict[str, Any]]], timeout: float) -> None:
    """Wait until ``model`` is no longer in the server's ``index``. Raises ``ServerError`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while any(entry["name"] == model and is_present(entry) for entry in index()):
        if time.monotonic() > deadline:
            raise ServerError(
                f"{model} is still not unloaded after {timeout:g} s",
                model=model,
                hint="A request in flight keeps it: end the load first.",
            )
        time.sleep(UNLOAD_POLL)


def serving(control: Control) -> list[str]:
    """Name the models that a server serves now; none where it does not say."""
    try:
        return sorted({entry["name"] for entry in control.index() if entry.get("state") == "READY"})
    except ServerError:
        return []


def is_present(entry: Mapping[str, Any]) -> bool:
    """Say whether an entry of the repository's index is a model that is loaded, or on its way in or out."""
    return entry.get("state") in {"READY", "LOADING", "UNLOADING"}


def add_up_by_model(versions: Iterable[Mapping[str, Any]]) -> dict[str, ServerStatistics]:
    """Add up the versions of each model in Triton's statistics of all of them."""
    models: dict[str, list[Mapping[str, Any]]] = {}
    for version in versions:
        models.setdefault(version["name"], []).append(version)
    return {name: add_up_statistics({"model_stats": each}) for name, each in models.items()}


def add_up_statistics(answer: Mapping[str, Any]) -> ServerStatistics:
    """Add up the versions in Triton's answer to ``GET v2/models/M/stats``."""
    versions = answer.get("model_stats", ())

    def total(name: str, field: str) -> int:
        return sum(int(version.get("inference_stats", {}).get(name, {}).get(field, 0)) for version in versions)

    return ServerStatistics(
        inference_count=sum(int(version.get("inference_count", 0)) for version in versions),
        execution_count=sum(int(version.get("execution_count", 0)) for version in versions),
        success_count=total("success", "count"),
        success_ns=total("success", "ns"),
        fail_count=total("fail", "count"),
        queue_ns=total("queue", "ns"),
        compute_input_ns=total("compute_input", "ns"),
        compute_infer_ns=total("compute_infer", "ns"),
        compute_output_ns=total("compute_output", "ns"),
        cache_hit_count=total("cache_hit", "count"),
    )


def configuration_as_json(model: str, configuration: ModelConfig) -> str:
    """Return ``configuration`` as the load API takes it for ``model``."""
    from pytest_triton.repository.configuration import to_json

    fields = to_json(configuration)
    # The load API refuses a name other than the folder's; config.pbtxt may leave it out, and an alias needs its own.
    fields["name"] = model
    return json.dumps(fields)
