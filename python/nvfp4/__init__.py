# SPDX-License-Identifier: Apache-2.0
"""NVFP4 weights as W4A16 on NVIDIA GPUs without FP4 units.

    matrix = nvfp4.quantize(weights)            # or nvfp4.checkpoint.Checkpoint(path).matrix(name)
    packed = nvfp4.pack(matrix)                 # the form that kernels read, 0.5625 byte a weight
    with nvfp4.Context() as context:            # a GPU with its tuning database
        gemm = context.prepare(packed.rows, packed.k, m_max=64)
        gemm.launch(m, weights=..., global_scales=..., activations=..., out=..., stream=...)

`nvfp4.torch` has the same as a PyTorch operator and as a Linear module.
"""
from ._context import Context, Device, Gemm, Selection
from ._library import (BadData, CompileError, DeviceLost, DriverError, Forked, InternalError,
                       InvalidArgument, InvalidHandle, NoCompiler, NoDevice, Nvfp4Error, OutOfMemory,
                       library)
from ._weights import Matrix, Packed, pack, packed_size, quantize

__all__ = ["BadData", "CompileError", "Context", "Device", "DeviceLost", "DriverError", "Forked",
           "Gemm", "InternalError", "InvalidArgument", "InvalidHandle", "Matrix", "NoCompiler",
           "NoDevice", "Nvfp4Error", "OutOfMemory", "Packed", "Selection", "pack", "packed_size",
           "quantize", "version"]


def version() -> str:
    """Of the shared library."""
    return library().nvfp4_version().decode()
