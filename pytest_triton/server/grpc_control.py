"""The control plane of a Triton over gRPC, for one whose HTTP endpoint cannot be reached."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_triton.errors import RequestError, ServerDied, ServerError
from pytest_triton.observation import ServerStatistics
from pytest_triton.secrecy import mask
from pytest_triton.server.control import (
    ANSWER_TIMEOUT,
    LOAD_TIMEOUT,
    PROBE_TIMEOUT,
    REQUEST_TIMEOUT,
    add_up_by_model,
    add_up_statistics,
    configuration_as_json,
    wait_until_gone,
)
from pytest_triton.server.grpc_messages import as_metadata, decode_infer, encode_infer, open_channel
from pytest_triton.server.refusal import advise_access, advise_process, clean_reason, make_refusal, no_answer
from pytest_triton.server.transport import NO_HEADERS

if TYPE_CHECKING:
    import grpc
    import numpy as np
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from pytest_triton.load.base import TLS

_GONE = "UNAVAILABLE"
_LATE = "DEADLINE_EXCEEDED"


class GrpcControl:
    """Ask a Triton to load, unload and describe models: what ``ModelControl`` does, in the other protocol.

    ``address`` is ``host:port`` of its gRPC endpoint. ``headers`` go along with every question, over TLS if there is
    ``tls``. ``timeout`` (seconds) bounds a load and an unload, ``request_timeout`` an inference.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = LOAD_TIMEOUT,
        request_timeout: float = REQUEST_TIMEOUT,
        headers: Mapping[str, str] = NO_HEADERS,
        tls: TLS | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.request_timeout = request_timeout
        self._headers = headers
        self._metadata = as_metadata(headers)
        self._tls = tls

    def trouble(self) -> str:
        """Say why no live server answers here, with what to do about it if that is clear; empty when one does."""
        import grpc

        request = self._types.ServerLiveRequest()
        try:
            answer = self._stub.ServerLive(request, timeout=PROBE_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code().name == _LATE:
                return f"no answer within {PROBE_TIMEOUT:g} s"
            return f"{self._details(error)}. {advise_access(error.code().name)}".rstrip(". ")
        return "" if answer.live else "it says that it is not live"

    def server_live(self) -> bool:
        """Say whether the server answers at all."""
        return not self.trouble()

    def server_ready(self) -> bool:
        """Say whether the server says that it is ready."""
        return self._says_ready("ServerReady", self._types.ServerReadyRequest())

    def server_metadata(self) -> dict[str, Any]:
        """Return the server's ``name``, ``version`` and ``extensions``."""
        answer = self._ask("ServerMetadata", self._types.ServerMetadataRequest())
        return {"name": answer.name, "version": answer.version, "extensions": list(answer.extensions)}

    def index(self) -> list[dict[str, Any]]:
        """List the models of the repository: ``name``, and ``version``, ``state``, ``reason`` where known."""
        answer = self._ask("RepositoryIndex", self._types.RepositoryIndexRequest())
        fields = ("name", "version", "state", "reason")
        # As over HTTP, what is not known is not there.
        return [{name: value for name in fields if (value := getattr(each, name))} for each in answer.models]

    def load(self, model: str, configuration: ModelConfig | None = None) -> float:
        """Load ``model``, with ``configuration`` instead of its config.pbtxt if given; return the seconds it took.

        Raises ``ModelLoadError`` with Triton's reason, ``ServerDied`` when the server went away.
        """
        request = self._types.RepositoryModelLoadRequest(model_name=model)
        if configuration is not None:
            request.parameters["config"].string_param = configuration_as_json(model, configuration)
        began = time.monotonic()
        self._change("load", model, request)
        return time.monotonic() - began

    def unload(self, model: str) -> None:
        """Unload ``model`` and wait until it is gone. A model that is not loaded is none to unload."""
        self.begin_unload(model)
        wait_until_gone(model, self.index, self.timeout)

    def begin_unload(self, model: str) -> None:
        """Tell Triton to unload ``model`` and do not wait for it."""
        self._change("unload", model, self._types.RepositoryModelUnloadRequest(model_name=model))

    def configuration(self, model: str) -> ModelConfig:
        """Return the configuration that the loaded ``model`` runs with, all defaults filled in by Triton."""
        configuration: ModelConfig = self._ask(
            "ModelConfig", self._types.ModelConfigRequest(name=model), model=model
        ).config
        return configuration

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the loaded model's ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs``."""
        answer = self._ask("ModelMetadata", self._types.ModelMetadataRequest(name=model), model=model)
        return {
            "name": answer.name,
            "versions": list(answer.versions),
            "platform": answer.platform,
            "inputs": [_describe(tensor) for tensor in answer.inputs],
            "outputs": [_describe(tensor) for tensor in answer.outputs],
        }

    def model_ready(self, model: str) -> bool:
        """Say whether ``model`` can be asked."""
        return self._says_ready("ModelReady", self._types.ModelReadyRequest(name=model))

    def statistics(self, model: str) -> ServerStatistics:
        """Return Triton's statistics of ``model`` since it was loaded, all versions added up."""
        return add_up_statistics({"model_stats": self._statistics(model)})

    def all_statistics(self) -> dict[str, ServerStatistics]:
        """Return Triton's statistics of every model that is loaded, each one's versions added up."""
        return add_up_by_model(self._statistics(""))

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
        request = encode_infer(model, inputs, datatypes, parameters or {})
        answer = self._ask(
            "ModelInfer",
            request,
            timeout=self.request_timeout,
            model=model,
            problem=f"{model} answered a request with an error",
            late=no_answer(model, self.request_timeout),
        )
        return decode_infer(answer, model)

    @property
    def release_route(self) -> None:
        """None: another process cannot have regions of memory forgotten without an HTTP endpoint."""

    def register_memory(self, kind: str, name: str, registration: Mapping[str, Any]) -> None:
        """Have the server map a region of ``system`` or ``cuda`` memory. Raises ``RequestError`` when it does not."""
        fields = dict(registration)
        if "raw_handle" in fields:
            fields["raw_handle"] = base64.b64decode(fields["raw_handle"]["b64"])
        self._memory(kind, "Register", name=name, **fields)

    def unregister_memory(self, kind: str, name: str) -> None:
        """Have the server forget a region of memory, if it knows it."""
        self._memory(kind, "Unregister", name=name)

    def registered_memory(self, kind: str) -> list[str]:
        """List the names of the regions of ``system`` or ``cuda`` memory that the server maps."""
        return list(self._memory(kind, "Status").regions)

    def _memory(self, kind: str, action: str, **fields: Any) -> Any:
        method = f"{kind.capitalize()}SharedMemory{action}"
        return self._ask(method, getattr(self._types, f"{method}Request")(**fields))

    def _statistics(self, model: str) -> list[dict[str, Any]]:
        from google.protobuf.json_format import MessageToDict

        answer = self._ask("ModelStatistics", self._types.ModelStatisticsRequest(name=model), model=model)
        return list(MessageToDict(answer, preserving_proto_field_name=True).get("model_stats", ()))

    def _says_ready(self, method: str, request: Any) -> bool:
        import grpc

        try:
            answer = getattr(self._stub, method)(request, timeout=PROBE_TIMEOUT, metadata=self._metadata)
        except grpc.RpcError:
            return False
        return bool(answer.ready)

    def _change(self, action: str, model: str, request: Any) -> None:
        import grpc

        try:
            getattr(self._stub, f"RepositoryModel{action.capitalize()}")(
                request, timeout=self.timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._require_answer(error, action, self.timeout, model)
            raise make_refusal(self._details(error), model=model, action=action, address=self.address) from error

    def _ask(
        self,
        method: str,
        request: Any,
        *,
        timeout: float = 0.0,
        model: str = "",
        problem: str = "",
        late: ServerError | None = None,
    ) -> Any:
        import grpc

        timeout = timeout or min(self.timeout, ANSWER_TIMEOUT)
        try:
            return getattr(self._stub, method)(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            self._require_answer(error, method, timeout, model, late)
            first, *rest = (line for line in clean_reason(self._details(error)).splitlines() if line.strip())
            raise RequestError(
                f"{problem or f'the server refused {method}'}: {first}",
                model=model,
                details=rest,
                hint=advise_access(error.code().name) or advise_process(first),
            ) from error

    def _details(self, error: grpc.RpcError) -> str:
        return mask(error.details() or "", self._headers)

    def _require_answer(
        self, error: grpc.RpcError, asked: str, timeout: float, model: str, late: ServerError | None = None
    ) -> None:
        """Raise unless the error is the server's own answer."""
        code = error.code().name
        if code == _LATE:
            raise late or ServerError(
                f"the server at {self.address} did not answer {asked} within {timeout:g} s",
                model=model,
                hint="Read its log: a load may hang, or the machine may be out of memory.",
            ) from error
        # A model that is not loaded is "unavailable", too.
        if code == _GONE and not self.server_live():
            raise ServerDied(
                f"the server at {self.address} is gone: {self._details(error)}",
                model=model,
                hint="Read its log for the reason.",
            ) from error

    @cached_property
    def _types(self) -> Any:
        from tritonclient.grpc import service_pb2

        return service_pb2

    @cached_property
    def _stub(self) -> Any:
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        return GRPCInferenceServiceStub(open_channel(self.address, self._tls))


def _describe(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
