# SPDX-License-Identifier: Apache-2.0
"""Weights on the host: the checkpoint form (Matrix), the packed form that kernels read (Packed), and
the ways between them. All of it is numpy; nothing here needs a GPU."""
import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _library
from ._library import InvalidArgument

BLOCK = 16  # weights that share an E4M3 scale
TILE = 64  # rows that share a global scale; both sides of the packed form are padded to it

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def _e4m3_values() -> np.ndarray:
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    magnitude = np.where(exponent > 0, np.ldexp(1 + mantissa / 8, exponent - 7),
                         np.ldexp(mantissa / 8, -6))
    magnitude[byte & 127 == 127] = np.nan
    return np.where(byte < 128, magnitude, -magnitude).astype(np.float32)


E4M3 = _e4m3_values()


def host_array(data: Any, dtype: type) -> np.ndarray:
    """`data` as a C-contiguous numpy array of `dtype`: a numpy array, a torch tensor of any device, what
    speaks DLPack on the host, or what numpy can make of it. Bytes that torch or ml_dtypes calls float8 are taken as they are; other
    numbers are converted only if float32 is wanted."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        if dtype is np.float32:
            data = data.float()
        elif data.element_size() == 1:
            data = data.contiguous().view(torch.uint8)
        else:
            raise InvalidArgument(f"bytes are wanted, not a tensor of {data.dtype}")
        data = data.numpy()
    elif hasattr(data, "__dlpack__") and not hasattr(data, "__array__"):
        data = np.from_dlpack(data)
    array = np.asarray(data)
    if dtype is np.uint8 and array.dtype != np.uint8:
        if array.dtype.itemsize != 1:
            raise InvalidArgument(f"bytes are wanted, not an array of {array.dtype}")
        array = array.view(np.uint8)
    return np.ascontiguousarray(array, dtype)


@dataclass(frozen=True, eq=False)
class Matrix:
    """One NVFP4 matrix as checkpoints hold it: W[n, k] = E2M1(codes) * E4M3(scales) * global_scale.

    codes         uint8 [n, k/2], even k in the low nibble
    scales        uint8 [n, k/16], the bytes of E4M3 numbers
    global_scale  multiplies (compressed-tensors stores its reciprocal)
    name          for messages

    Arrays may be numpy arrays or torch tensors; they become numpy arrays. Raises InvalidArgument for
    shapes that do not fit and for a global scale that is not finite and above 0.
    """

    codes: np.ndarray
    scales: np.ndarray
    global_scale: float
    name: str = ""

    def __post_init__(self) -> None:
        codes, scales = host_array(self.codes, np.uint8), host_array(self.scales, np.uint8)
        what = self.name or "matrix"
        if codes.ndim != 2 or codes.shape[1] % (BLOCK // 2) or codes.size == 0:
            raise InvalidArgument(f"{what}: codes of shape {codes.shape}, not [n, k/2] with k a "
                                  f"multiple of {BLOCK}")
        n, k = codes.shape[0], codes.shape[1] * 2
        if scales.shape != (n, k // BLOCK):
            raise InvalidArgument(f"{what}: scales of shape {scales.shape}, not {(n, k // BLOCK)}")
        scale = float(np.float32(self.global_scale))
        if not (np.isfinite(scale) and scale > 0):
            raise InvalidArgument(f"{what}: the global scale is {scale}")
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "scales", scales)
        object.__setattr__(self, "global_scale", scale)

    @property
    def n(self) -> int:
        return self.codes.shape[0]

    @property
    def k(self) -> int:
        return self.codes.shape[1] * 2

    def dequantize(self) -> np.ndarray:
        """float32 [n, k], one rounding each; NaN where the scale is."""
        values = np.empty((self.n, self.k), np.float32)
        values[:, ::2], values[:, 1::2] = E2M1[self.codes & 15], E2M1[self.codes >> 4]
        values *= np.repeat(E4M3[self.scales], BLOCK, axis=1)  # exact
        return values * np.float32(self.global_scale)


@dataclass(frozen=True, eq=False)
class Packed:
    """A stack of matrices in the form that kernels read; copy both arrays to the device, 16-byte
    aligned.

    data           uint8 [packed bytes], 0.5625 byte a weight after padding to 64 x 64
    global_scales  float32, one per 64 rows
    rows           N for Context.prepare: gaps between parts included
    k              columns of every part
    part_rows      rows of each part; a part starts on a multiple of 64 rows
    """

    data: np.ndarray
    global_scales: np.ndarray
    rows: int
    k: int
    part_rows: tuple[int, ...]

    def unpack(self, part: int = 0, threads: int = 0) -> Matrix:
        """The part in canonical checkpoint form: no negative scale, codes 0 where the scale is 0. Its
        weights have their values, and packing it gives the same bytes."""
        n = self.part_rows[part]
        row = sum(-(-rows // TILE) * TILE for rows in self.part_rows[:part])
        codes = np.empty((n, self.k // 2), np.uint8)
        scales = np.empty((n, self.k // BLOCK), np.uint8)
        _library.call("unpack", self.data.ctypes.data, self.data.size, self.rows, self.k, row, n,
                      threads, codes.ctypes.data, scales.ctypes.data)
        return Matrix(codes, scales, float(self.global_scales[row // TILE]))


def packed_size(part_rows: "list[int] | tuple[int, ...]", k: int) -> _library.PackedInfo:
    """What a stack of parts of k columns takes: `.rows`, `.packed_bytes`, `.global_scales`."""
    info = _library.PackedInfo()
    rows = (ctypes.c_int64 * len(part_rows))(*part_rows)
    _library.call("packed_size", rows, len(part_rows), k, ctypes.byref(info))
    return info


def pack(*parts: Matrix, threads: int = 0) -> Packed:
    """Packs a matrix, or a stack of up to 8 with the same k (a fused q, k and v, each with its own
    global scale), with up to `threads` threads (0: all cores). Exact: every weight keeps its value.

    Raises BadData for a NaN scale, naming part, row and block, and InvalidArgument for parts that do
    not fit together.
    """
    if not parts:
        raise InvalidArgument("pack needs at least one matrix")
    k = parts[0].k
    for part in parts:
        if part.k != k:
            raise InvalidArgument(f"{part.name or 'a part'} has k = {part.k}, the first has {k}")
    part_rows = tuple(part.n for part in parts)
    info = packed_size(part_rows, k)
    data = np.empty(info.packed_bytes, np.uint8)
    global_scales = np.empty(info.global_scales, np.float32)
    table = (_library.Part * len(parts))()
    for entry, part in zip(table, parts):
        entry.size = ctypes.sizeof(entry)
        entry.n, entry.global_scale = part.n, part.global_scale
        entry.codes, entry.scales = part.codes.ctypes.data, part.scales.ctypes.data
        entry.name = part.name.encode() or None
    _library.call("pack", table, len(parts), k, threads, data.ctypes.data, data.size,
                  global_scales.ctypes.data, global_scales.size)
    return Packed(data, global_scales, info.rows, k, part_rows)


def quantize(weights: Any, power_of_two: bool = False, name: str = "") -> Matrix:
    """Quantises [n, k] weights (numpy or torch, any float type), k a multiple of 16.

    The global scale maps the largest magnitude to 448 * 6, each block of 16 gets amax / 6 in E4M3,
    codes round to nearest even. With `power_of_two` the global scale is rounded up to a power of two:
    then dequantised weights are exact in bf16, and a bf16 model is a reference without rounding.

    Raises BadData for a weight that is not finite.
    """
    values = host_array(weights, np.float32)
    if values.ndim != 2:
        raise InvalidArgument(f"{name or 'weights'}: shape {values.shape} is not [n, k]")
    n, k = values.shape
    codes, scales = np.empty((n, k // 2), np.uint8), np.empty((n, k // BLOCK), np.uint8)
    global_scale = ctypes.c_float()
    _library.call("quantize", values.ctypes.data, n, k, int(power_of_two), codes.ctypes.data,
                  scales.ctypes.data, ctypes.byref(global_scale))
    return Matrix(codes, scales, global_scale.value, name)
