# SPDX-License-Identifier: Apache-2.0
"""The C interface (nvfp4.h) in ctypes: where the library is, its structs, and its errors.

Everything else in the package calls `call(name, ...)`, which raises what a status means. The library
is loaded by the first call, so that importing the package needs neither it nor a GPU.
"""
import ctypes
import functools
import os
import struct
from ctypes import (POINTER, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t,
                    c_uint32, c_uint64, c_void_p)
from pathlib import Path

NAME = "libnvfp4.so"
ABI_VERSION = 1
MAX_PARTS = 8
PDL = 1
BF16, FP16, FP32, FP8_E4M3 = range(4)

Log = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)


class Nvfp4Error(RuntimeError):
    """What the library refused or could not do. `status` is the number in nvfp4.h (0: one that this
    package does not know); the text is the name there and the library's own message."""

    status = 0


class InvalidArgument(Nvfp4Error, ValueError):
    """Null, misaligned, out of range, or a size that does not fit."""


class InvalidHandle(Nvfp4Error):
    """A context or GEMM that was closed."""


class BadData(Nvfp4Error, ValueError):
    """Weights that cannot be represented, such as a NaN scale, or a file that breaks its format."""


class NoDevice(Nvfp4Error):
    """No driver, no GPU, one that is not supported, or no shared library."""


class NoCompiler(Nvfp4Error):
    """No NVRTC, or one that the driver is too old for."""


class CompileError(Nvfp4Error):
    """NVRTC refused a kernel."""


class OutOfMemory(Nvfp4Error, MemoryError):
    """Of the host or of the device."""


class DriverError(Nvfp4Error):
    """A driver call failed; the context lives."""


class DeviceLost(Nvfp4Error):
    """A kernel of anyone in this process faulted: the context is gone."""


class Forked(Nvfp4Error):
    """This process is a fork of the one that made the context."""


class InternalError(Nvfp4Error):
    """A bug of the library."""


ERRORS = (None, InvalidArgument, InvalidHandle, BadData, NoDevice, NoCompiler, CompileError,
          OutOfMemory, DriverError, DeviceLost, Forked, InternalError)
for _status, _error in enumerate(ERRORS):
    if _error:
        _error.status = _status


class _Sized(ctypes.Structure):
    """A struct of the interface: its first field is its size, which it fills in itself."""

    def __init__(self, **fields: object):
        super().__init__(size=ctypes.sizeof(self), **fields)


class ContextOptions(_Sized):
    _fields_ = [("size", c_size_t), ("device", c_char_p), ("database", c_char_p),
                ("cache", c_char_p), ("log", Log), ("log_user", c_void_p)]


class DeviceInfo(_Sized):
    _fields_ = [("size", c_size_t), ("name", c_char * 64), ("compute_major", c_int32),
                ("compute_minor", c_int32), ("sm_count", c_int32), ("emulated", c_int32),
                ("memory_bytes", c_int64)]


class Part(_Sized):
    _fields_ = [("size", c_size_t), ("n", c_int64), ("codes", c_void_p), ("scales", c_void_p),
                ("codes_stride", c_int64), ("scales_stride", c_int64), ("global_scale", c_float),
                ("name", c_char_p)]


class PackedInfo(_Sized):
    _fields_ = [("size", c_size_t), ("rows", c_int64), ("packed_bytes", c_size_t),
                ("global_scales", c_size_t)]


class DequantizeArgs(_Sized):
    _fields_ = [("size", c_size_t), ("n", c_int64), ("k", c_int64), ("packed", c_void_p),
                ("global_scales", c_void_p), ("codes", c_void_p), ("scales", c_void_p),
                ("scale_type", c_int), ("global_scale", c_float), ("out", c_void_p),
                ("out_type", c_int)]


class Problem(_Sized):
    _fields_ = [("size", c_size_t), ("n", c_int64), ("k", c_int64), ("act", c_int),
                ("flags", c_uint32), ("part_rows", POINTER(c_int64)), ("part_count", c_size_t),
                ("experts", c_int64)]


class Selection(_Sized):
    _fields_ = [("size", c_size_t), ("config", c_char_p), ("match", c_int), ("measured", c_int32),
                ("expected_us", c_double), ("f", c_double), ("m_tuned", c_int64)]


class Output(ctypes.Structure):
    _fields_ = [("out", c_void_p), ("ldo", c_int64)]


class LaunchArgs(_Sized):
    _fields_ = [("size", c_size_t), ("m", c_int64), ("weights", c_void_p),
                ("global_scales", c_void_p), ("activations", c_void_p), ("lda", c_int64),
                ("bias", c_void_p), ("out", c_void_p), ("ldo", c_int64), ("out_type", c_int),
                ("outputs", POINTER(Output)), ("output_count", c_size_t), ("expert_offsets", c_void_p),
                ("workspace", c_void_p), ("workspace_bytes", c_size_t)]


# The same as bytes, since it is made at every launch: a ctypes struct takes a microsecond more.
_pack_launch_args = struct.Struct("@NqPPPqPPqi4xPNPPN").pack
_LAUNCH_ARGS_BYTES = ctypes.sizeof(LaunchArgs)


def launch_args(*fields: int) -> bytes:
    """LaunchArgs of the fields after `size`."""
    return _pack_launch_args(_LAUNCH_ARGS_BYTES, *fields)


_Context, _Gemm, _Stream = c_uint64, c_uint64, c_void_p
_SIGNATURES = {
    "context_create": (POINTER(ContextOptions), POINTER(_Context)),
    "context_destroy": (_Context,),
    "device": (_Context, POINTER(DeviceInfo)),
    "packed_size": (POINTER(c_int64), c_size_t, c_int64, POINTER(PackedInfo)),
    "pack": (POINTER(Part), c_size_t, c_int64, c_int, c_void_p, c_size_t, c_void_p, c_size_t),
    "unpack": (c_void_p, c_size_t, c_int64, c_int64, c_int64, c_int64, c_int, c_void_p, c_void_p),
    "quantize": (c_void_p, c_int64, c_int64, c_int, c_void_p, c_void_p, POINTER(c_float)),
    "dequantize": (_Context, POINTER(DequantizeArgs), _Stream),
    "lookup": (_Context, POINTER(Problem), c_int64, POINTER(Selection)),
    "prepare": (_Context, POINTER(Problem), c_int64, c_int64, POINTER(_Gemm)),
    "gemm_destroy": (_Gemm,),
    "workspace_size": (_Gemm, POINTER(c_size_t)),
    "workspace_init": (_Context, c_void_p, c_size_t, _Stream),
    "launch": (_Gemm, c_char_p, _Stream),  # of launch_args
}


def _candidates() -> list[str]:
    """NVFP4_LIBRARY alone if it is set, else: in the wheel, in the build tree, and by the loader."""
    if named := os.environ.get("NVFP4_LIBRARY"):
        return [named]
    package = Path(__file__).resolve().parent
    files = [package / "lib" / NAME, package.parents[1] / "build" / NAME]
    return [*(str(file) for file in files if file.exists()), f"{NAME}.{ABI_VERSION}"]


def _load() -> ctypes.CDLL:
    troubles = []
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            troubles.append(str(error))
    raise NoDevice(f"{'; '.join(troubles)}: set NVFP4_LIBRARY to the path of {NAME}")


@functools.cache
def library() -> ctypes.CDLL:
    """The shared library with its signatures. Raises NoDevice when there is none, or one with another
    ABI."""
    found = _load()
    for name in ("nvfp4_version", "nvfp4_last_error", "nvfp4_status_name"):
        getattr(found, name).restype = c_char_p
    found.nvfp4_status_name.argtypes = (c_int,)
    if (version := found.nvfp4_abi_version()) != ABI_VERSION:
        raise NoDevice(f"{found._name} has ABI {version}, this package needs {ABI_VERSION}")
    for name, arguments in _SIGNATURES.items():
        function = getattr(found, f"nvfp4_{name}")
        function.argtypes, function.restype = arguments, c_int
    return found


def check(status: int) -> None:
    """Raises the error that `status`, which a call of this thread just returned, stands for."""
    if status:
        found = library()
        kind = ERRORS[status] if 0 < status < len(ERRORS) else Nvfp4Error
        name = found.nvfp4_status_name(status).decode()
        raise kind(f"{name}: {found.nvfp4_last_error().decode(errors='replace')}")


def call(name: str, *arguments: object) -> None:
    check(getattr(library(), f"nvfp4_{name}")(*arguments))
