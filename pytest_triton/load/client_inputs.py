"""A request as ``tritonclient`` has it, the same for HTTP and gRPC."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pytest_triton.errors import InputError
from pytest_triton.load.base import Request


def as_client_inputs(request: Request, module: ModuleType) -> tuple[list[Any], list[Any] | None]:
    """Return the ``InferInput`` and ``InferRequestedOutput`` objects of ``request``; None asks for all outputs.

    ``module`` is ``tritonclient.http`` or ``tritonclient.grpc``; over HTTP all tensors are binary. Raises
    ``InputError`` when an array does not fit its data type.
    """
    from tritonclient.utils import InferenceServerException

    # HTTP alone has tensors as text, too.
    binary = {"binary_data": True} if module.__name__.partition(".")[2].startswith("http") else {}
    shared = request.shared
    inputs = []
    for name, array in request.inputs.items():
        tensor = module.InferInput(name, list(array.shape), request.datatypes[name])
        try:
            if shared is None:
                tensor.set_data_from_numpy(array, **binary)
            else:
                extent = shared.inputs[name]
                tensor.set_shared_memory(extent.region, extent.size, extent.offset)
        except InferenceServerException as error:
            raise InputError(f"input {name!r} cannot be sent: {error.message()}", model=request.model) from error
        inputs.append(tensor)
    if shared is None:
        return inputs, [module.InferRequestedOutput(name, **binary) for name in request.outputs] or None
    outputs = []
    for name, extent in shared.outputs.items():
        output = module.InferRequestedOutput(name, **binary)
        output.set_shared_memory(extent.region, extent.size, extent.offset)
        outputs.append(output)
    return inputs, outputs or None
