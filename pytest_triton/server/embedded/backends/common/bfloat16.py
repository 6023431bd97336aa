"""BF16 tensors to and from Triton, as arrays of their raw 16 bits.

NumPy has no such type, and the Python backend hands BF16 out and takes it in through DLPack only. ONNX Runtime's Python
package exchanges DLPack capsules in some builds and not in others, so the capsule is read and written here: one C
structure. Layout: dlpack.h, ``DLManagedTensor``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .batching import Array
from .refusal import RefusalError

CPU, CUDA_HOST = 1, 3
BFLOAT = 4
CAPSULE_NAME = b"dltensor"


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def read_capsule(capsule: Any) -> Array:
    """Copy the bits out of a DLPack capsule of BF16 in host memory: uint16, C order."""
    tensor = _ManagedTensor.from_address(_capsule_pointer(capsule, CAPSULE_NAME)).tensor
    if (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) != (BFLOAT, 16, 1):
        raise RefusalError("a BF16 tensor is expected here")
    if tensor.device.type not in (CPU, CUDA_HOST) or tensor.strides:
        raise RefusalError("a BF16 tensor must be contiguous and in host memory")
    shape = tuple(tensor.shape[place] for place in range(tensor.ndim))
    return read_bits((tensor.data or 0) + tensor.byte_offset, shape)


def read_bits(address: int, shape: Sequence[int]) -> Array:
    """Copy 16-bit values from an address in this process."""
    bits = np.empty(shape, dtype=np.uint16)
    if bits.size:
        ctypes.memmove(bits.ctypes.data, address, bits.nbytes)
    return bits


_exported: dict[int, tuple[_ManagedTensor, Array, Any]] = {}
"""What exported capsules point to, by the address of their structure, until the deleter is called."""


def _forget(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


_delete = _Deleter(_forget)


def write_capsule(bits: Array) -> Any:
    """Make a DLPack capsule of BF16 that shares the memory of ``bits`` (uint16), kept until the consumer is done."""
    bits = np.ascontiguousarray(bits, dtype=np.uint16)
    shape = (ctypes.c_int64 * bits.ndim)(*bits.shape)
    managed = _ManagedTensor(
        _Tensor(
            bits.ctypes.data,
            _Device(CPU, 0),
            bits.ndim,
            _DataType(BFLOAT, 16, 1),
            ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
            None,
            0,
        ),
        None,
        _delete,
    )
    address = ctypes.addressof(managed)
    _exported[address] = (managed, bits, shape)
    return _new_capsule(address, CAPSULE_NAME, None)
