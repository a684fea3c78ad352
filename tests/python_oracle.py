# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python package compare with and run on: the number formats and products in
numpy's float64, and the memory of the emulated driver. Prints "skipped" and exits where numpy is missing.
"""
import ctypes
import os
import sys
from pathlib import Path

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import nvfp4  # noqa: E402

# --- The oracle: nothing of it comes from the package. ---

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def e2m1(code: int) -> float:
    return -MAGNITUDES[code - 8] if code > 7 else MAGNITUDES[code]


def e4m3(byte: int) -> float:
    exponent, fraction = (byte >> 3) & 15, byte & 7
    if byte & 127 == 127:
        return float("nan")
    value = fraction * 2.0**-9 if exponent == 0 else (8 + fraction) * 2.0 ** (exponent - 10)
    return -value if byte & 128 else value


def weights_of(codes: np.ndarray, scales: np.ndarray, global_scale: float) -> np.ndarray:
    """float64 [n, k], one product after the other."""
    n, half = codes.shape
    result = np.empty((n, 2 * half))
    for row in range(n):
        for k in range(2 * half):
            code = codes[row, k // 2] >> 4 if k % 2 else codes[row, k // 2] & 15
            result[row, k] = e2m1(int(code)) * e4m3(int(scales[row, k // 16])) * global_scale
    return result


def bf16_bits(values: np.ndarray) -> np.ndarray:
    """Of numbers that bf16 holds exactly."""
    bits = values.astype(np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


def exact_operands(n: int, k: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales that are 0.5, 1 or 2, and activations of -3 to 3: sums are exact in float32."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, k // 2), dtype=np.uint8)
    scales = rng.choice(np.array([0x30, 0x38, 0x40], np.uint8), (n, k // 16))
    return codes, scales, rng.integers(-3, 4, (m, k)).astype(np.float64)


class Emulator:
    """Device memory of the emulated driver, which is libnvfp4_emulator.so beside the library."""

    def __init__(self) -> None:
        path = os.environ.get("NVFP4_EMULATOR") or Path(
            nvfp4.library()._name).parent / "libnvfp4_emulator.so"
        self.driver = ctypes.CDLL(str(path))
        self.driver.nvfp4_emulator_device.argtypes = (ctypes.c_char_p,)
        self.call("cuInit", 0)
        device = ctypes.c_int(self.driver.nvfp4_emulator_device(b"h100"))
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: object) -> None:
        code = getattr(self.driver, name)(*arguments)
        assert code == 0, f"{name}: {code}"

    def alloc(self, nbytes: int) -> int:
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
        return pointer.value

    def upload(self, array: np.ndarray) -> int:
        array = np.ascontiguousarray(array)
        pointer = self.alloc(array.nbytes)
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), ctypes.c_void_p(array.ctypes.data),
                  ctypes.c_size_t(array.nbytes))
        return pointer

    def download(self, pointer: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        self.call("cuCtxSynchronize")
        array = np.empty(shape, dtype)
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(pointer),
                  ctypes.c_size_t(array.nbytes))
        return array


def open_context(**options: object) -> nvfp4.Context:
    return nvfp4.Context("emulated:h100", database="", cache="", **options)
