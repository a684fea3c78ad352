#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package on the emulated device, against an oracle of its own: numpy in float64.

Needs numpy, and NVFP4_LIBRARY or a build tree. Exits with 77 where numpy is missing.
"""
import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
import zipfile
from pathlib import Path

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import build_wheel  # noqa: E402
import nvfp4  # noqa: E402
from nvfp4 import _library, _workspace, checkpoint  # noqa: E402

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
            nvfp4._library.library()._name).parent / "libnvfp4_emulator.so"
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


class WeightsTest(unittest.TestCase):
    def test_the_tables_of_the_package_are_the_formats(self) -> None:
        every = np.arange(256)
        np.testing.assert_array_equal(nvfp4._weights.E4M3, [e4m3(int(b)) for b in every])
        np.testing.assert_array_equal(nvfp4._weights.E2M1, [e2m1(c) for c in range(16)])

    def test_dequantize_is_the_product_of_the_three_numbers(self) -> None:
        codes, scales, _ = exact_operands(3, 48, 1, 1)
        got = nvfp4.Matrix(codes, scales, 0.25).dequantize()
        np.testing.assert_array_equal(got, weights_of(codes, scales, 0.25))

    def test_shapes_that_do_not_fit_are_refused_by_name(self) -> None:
        for codes, scales in (((4, 8), (4, 2)), ((4, 8), (3, 1)), ((4, 5), (4, 1)), ((0, 8), (0, 1))):
            with self.assertRaisesRegex(nvfp4.InvalidArgument, "layer.q"):
                nvfp4.Matrix(np.zeros(codes, np.uint8), np.zeros(scales, np.uint8), 1, "layer.q")
        with self.assertRaises(nvfp4.InvalidArgument):
            nvfp4.Matrix(np.zeros((4, 8), np.int32), np.zeros((4, 1), np.uint8), 1)
        for scale in (0.0, -1.0, float("nan"), float("inf"), 1e-60):
            with self.assertRaises(ValueError):
                nvfp4.Matrix(np.zeros((1, 8), np.uint8), np.zeros((1, 1), np.uint8), scale)

    def test_arrays_of_others_are_taken_by_dlpack(self) -> None:
        class Foreign:
            def __init__(self, array: np.ndarray) -> None:
                self.array = array

            def __dlpack__(self, **options: object) -> object:
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self) -> tuple[int, int]:
                return self.array.__dlpack_device__()

        codes, scales, _ = exact_operands(3, 32, 1, 1)
        matrix = nvfp4.Matrix(Foreign(codes), Foreign(scales), 1)
        np.testing.assert_array_equal(matrix.codes, codes)
        np.testing.assert_array_equal(matrix.scales, scales)

    def test_unpack_gives_back_what_was_packed(self) -> None:
        rng = np.random.default_rng(2)
        for n, k in ((1, 16), (65, 80), (128, 256)):
            codes = rng.integers(0, 256, (n, k // 2), dtype=np.uint8)
            scales = rng.integers(1, 0x7F, (n, k // 16), dtype=np.uint8)
            packed = nvfp4.pack(nvfp4.Matrix(codes, scales, 0.5))
            self.assertEqual(packed.data.size, -(-n // 64) * -(-k // 64) * 2304)
            self.assertEqual((packed.rows, packed.k, packed.part_rows), (n, k, (n,)))
            back = packed.unpack(threads=1)
            np.testing.assert_array_equal(back.codes, codes)
            np.testing.assert_array_equal(back.scales, scales)
            self.assertEqual(back.global_scale, 0.5)

    def test_unpack_is_canonical_and_keeps_every_value(self) -> None:
        rng = np.random.default_rng(3)
        codes = rng.integers(0, 256, (64, 64), dtype=np.uint8)
        scales = rng.choice(np.array([0, 0x80, 1, 0x81, 0x38, 0xB8, 0x7E, 0xFE], np.uint8), (64, 8))
        matrix = nvfp4.Matrix(codes, scales, 1)
        packed = nvfp4.pack(matrix)
        back = packed.unpack()
        self.assertFalse((back.scales & 0x80).any())
        np.testing.assert_array_equal(back.dequantize(), matrix.dequantize())
        np.testing.assert_array_equal(nvfp4.pack(back).data, packed.data)

    def test_a_stack_keeps_each_part_and_its_global_scale(self) -> None:
        parts = [nvfp4.Matrix(*exact_operands(n, 64, 1, n)[:2], scale, f"part{n}")
                 for n, scale in ((70, 0.5), (64, 2.0), (10, 4.0))]
        packed = nvfp4.pack(*parts)
        self.assertEqual(packed.part_rows, (70, 64, 10))
        np.testing.assert_array_equal(packed.global_scales, [0.5, 0.5, 2, 4])
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(packed.unpack(i).dequantize(), part.dequantize())

    def test_a_nan_scale_is_bad_data_with_the_librarys_words(self) -> None:
        codes, scales, _ = exact_operands(4, 32, 1, 4)
        scales[2, 1] = 0x7F
        with self.assertRaisesRegex(nvfp4.BadData, r"^NVFP4_BAD_DATA: .*mlp\.up") as caught:
            nvfp4.pack(nvfp4.Matrix(codes, scales, 1, "mlp.up"))
        self.assertEqual(caught.exception.status, 3)
        self.assertIsInstance(caught.exception, nvfp4.Nvfp4Error)

    def test_parts_of_different_k_are_refused(self) -> None:
        with self.assertRaises(nvfp4.InvalidArgument):
            nvfp4.pack(*(nvfp4.Matrix(*exact_operands(64, k, 1, 0)[:2], 1) for k in (32, 64)))
        with self.assertRaises(nvfp4.InvalidArgument):
            nvfp4.pack()

    def test_quantize_keeps_what_nvfp4_can_hold(self) -> None:
        codes, scales, _ = exact_operands(8, 64, 1, 5)
        codes[:, ::8] = 0x77  # each block has its 6, and one has the 6 * 448 that sets the global scale
        scales[0, 0] = 0x7E
        want = weights_of(codes, scales, 0.125)
        matrix = nvfp4.quantize(want)
        np.testing.assert_allclose(matrix.dequantize(), want, rtol=1e-6)
        self.assertAlmostEqual(matrix.global_scale, 0.125, places=7)

    def test_a_power_of_two_makes_weights_exact_in_bf16(self) -> None:
        values = np.random.default_rng(6).normal(size=(32, 128)).astype(np.float32)
        matrix = nvfp4.quantize(values, power_of_two=True)
        self.assertEqual(np.frexp(matrix.global_scale)[0], 0.5)
        bf16_bits(matrix.dequantize())  # asserts that nothing is lost
        # Rounded up, by less than a factor of two.
        exact = np.abs(values).max() / (448 * 6)
        self.assertTrue(exact <= matrix.global_scale < 2 * exact)
        block = np.abs(values).reshape(32, 8, 16).max(axis=2).repeat(16, axis=1)
        self.assertTrue((np.abs(matrix.dequantize() - values) <= block / 6 * 1.13).all())

    def test_quantize_refuses_what_is_not_finite(self) -> None:
        with self.assertRaises(nvfp4.BadData):
            nvfp4.quantize(np.array([[np.nan] * 16], np.float32))
        with self.assertRaises(nvfp4.InvalidArgument):
            nvfp4.quantize(np.zeros((4, 24), np.float32))
        with self.assertRaises(nvfp4.InvalidArgument):
            nvfp4.quantize(np.zeros(16, np.float32))


class LibraryTest(unittest.TestCase):
    def test_the_version_is_the_one_of_the_wheel(self) -> None:
        self.assertEqual(nvfp4.version(), build_wheel.version())

    def test_every_status_has_its_exception(self) -> None:
        for status, error in enumerate(_library.ERRORS):
            if error:
                with self.assertRaisesRegex(error, "^NVFP4_"):
                    _library.check(status)
        with self.assertRaises(nvfp4.Nvfp4Error):
            _library.check(99)

    def test_structs_have_the_layout_of_the_header(self) -> None:
        """Their size fields say what this package was written for; a C compiler says the truth."""
        sizes = {"context_options": _library.ContextOptions, "device_info": _library.DeviceInfo,
                 "part": _library.Part, "packed_info": _library.PackedInfo,
                 "dequantize_args": _library.DequantizeArgs, "problem": _library.Problem,
                 "selection": _library.Selection, "output": _library.Output,
                 "launch_args": _library.LaunchArgs}
        lines = ["#include <stdio.h>", '#include "nvfp4/nvfp4.h"', "int main(void) {"]
        for name, struct in sizes.items():
            lines.append(f'printf("{name} %zu\\n", sizeof(nvfp4_{name}));')
            for field, _ in struct._fields_:
                lines.append(f'printf("{name}.{field} %zu\\n", offsetof(nvfp4_{name}, {field}));')
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "sizes.c"
            source.write_text("\n".join([*lines, "}"]))
            subprocess.run([os.environ.get("CC", "cc"), f"-I{ROOT}/runtime/include", str(source),
                            "-o", f"{folder}/sizes"], check=True)
            output = subprocess.run([f"{folder}/sizes"], check=True, capture_output=True, text=True)
        want = dict(line.split() for line in output.stdout.splitlines())
        for name, struct in sizes.items():
            self.assertEqual(int(want[name]), ctypes.sizeof(struct), name)
            for field, _ in struct._fields_:
                self.assertEqual(int(want[f"{name}.{field}"]), getattr(struct, field).offset, field)

    def test_launch_arguments_are_the_struct_as_bytes(self) -> None:
        names = [name for name, _ in _library.LaunchArgs._fields_[1:]]
        values = {name: i + 1 for i, name in enumerate(names)}
        pointer = ctypes.cast(values["outputs"], ctypes.POINTER(_library.Output))
        want = bytes(_library.LaunchArgs(**(values | {"outputs": pointer})))
        self.assertEqual(_library.launch_args(*values.values()), want)

    def test_a_missing_library_is_named_with_the_way_out(self) -> None:
        code = "import nvfp4\ntry: nvfp4.version()\nexcept nvfp4.NoDevice as e: print(e)"
        environment = os.environ | {"NVFP4_LIBRARY": "/nowhere/libnvfp4.so",
                                    "PYTHONPATH": str(ROOT / "python")}
        shown = subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True,
                               capture_output=True, text=True).stdout
        self.assertIn("/nowhere/libnvfp4.so", shown)
        self.assertIn("NVFP4_LIBRARY", shown)


class DeviceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.context = open_context()
        cls.emulator = Emulator()
        cls.workspaces: list[int] = []

    @classmethod
    def tearDownClass(cls) -> None:
        cls.context.close()

    def product(self, packed: nvfp4.Packed, activations: np.ndarray, *, act: str = "bf16",
                pdl: bool = False, bias: np.ndarray | None = None) -> np.ndarray:
        """float32 [m, rows] of a launch in a workspace of its own."""
        up, m = self.emulator.upload, len(activations)
        bits = bf16_bits(activations) if act == "bf16" else activations.astype(np.float16)
        with self.context.prepare(packed.rows, packed.k, act, m_max=max(m, 1), pdl=pdl) as gemm:
            self.workspaces.append(gemm.workspace_bytes)
            workspace = self.emulator.alloc(gemm.workspace_bytes) if gemm.workspace_bytes else None
            if workspace:
                self.context.init_workspace(workspace, gemm.workspace_bytes)
            out = up(np.full((m, packed.rows), np.nan, np.float32))
            gemm.launch(m, weights=up(packed.data), global_scales=up(packed.global_scales),
                        activations=up(bits), out=out, out_type="fp32",
                        bias=None if bias is None else up(bias), workspace=workspace,
                        workspace_bytes=gemm.workspace_bytes)
            return self.emulator.download(out, (m, packed.rows), np.float32)

    def test_a_device_says_what_it_is(self) -> None:
        device = self.context.device
        self.assertIn("H100", device.name)
        self.assertEqual((device.compute_capability, device.sm_count), ((9, 0), 132))
        self.assertTrue(device.emulated)
        self.assertGreater(device.memory_bytes, 64 << 30)

    def test_lookup_says_who_chose(self) -> None:
        selection = self.context.lookup(256, 256, 8)
        self.assertIn(selection.match, ("exact", "interval", "near", "policy", "default"))
        self.assertTrue(selection.config)
        self.assertFalse(selection.measured and selection.match == "default")

    def test_products_are_exact(self) -> None:
        for n, k, m, act, pdl in ((64, 64, 1, "bf16", False), (100, 80, 5, "bf16", True),
                                  (128, 256, 17, "fp16", False), (64, 8192, 2, "bf16", False)):
            with self.subTest(n=n, k=k, m=m, act=act, pdl=pdl):
                codes, scales, activations = exact_operands(n, k, m, n + m)
                got = self.product(nvfp4.pack(nvfp4.Matrix(codes, scales, 0.25)), activations,
                                   act=act, pdl=pdl)
                want = activations @ weights_of(codes, scales, 0.25).T
                np.testing.assert_array_equal(got, want)
        self.assertTrue(any(self.workspaces), "no shape needed a workspace")

    def test_a_stack_is_exact_part_by_part(self) -> None:
        parts = [exact_operands(n, 64, 3, n) for n in (64, 40)]
        packed = nvfp4.pack(*(nvfp4.Matrix(codes, scales, g)
                              for (codes, scales, _), g in zip(parts, (0.5, 8.0))))
        activations = parts[0][2]
        bias = np.arange(packed.rows)
        got = self.product(packed, activations, bias=bf16_bits(bias.astype(float)))
        np.testing.assert_array_equal(
            got[:, :64], activations @ weights_of(*parts[0][:2], 0.5).T + bias[:64])
        np.testing.assert_array_equal(
            got[:, 64:104], activations @ weights_of(*parts[1][:2], 8.0).T + bias[64:104])

    def test_dequantize_on_the_device_is_the_oracle(self) -> None:
        codes, scales, _ = exact_operands(40, 48, 1, 9)
        packed = nvfp4.pack(nvfp4.Matrix(codes, scales, 0.5))
        up = self.emulator.upload
        out = self.emulator.alloc(40 * 48 * 4)
        self.context.dequantize(up(packed.data), up(packed.global_scales), 40, 48, out, "fp32")
        np.testing.assert_array_equal(self.emulator.download(out, (40, 48), np.float32),
                                      weights_of(codes, scales, 0.5))

    def test_no_tokens_are_no_work(self) -> None:
        with self.context.prepare(64, 64) as gemm:
            gemm.launch(0, weights=1 << 20, global_scales=1 << 20, activations=1 << 20, out=1 << 20,
                        workspace=1 << 20, workspace_bytes=gemm.workspace_bytes)

    def test_operands_that_break_the_contract_are_refused_in_words(self) -> None:
        with self.context.prepare(64, 64) as gemm:
            good = {"weights": 1 << 20, "global_scales": 1 << 20, "activations": 1 << 20,
                    "out": 1 << 20, "workspace": 1 << 20, "workspace_bytes": gemm.workspace_bytes}
            for bad in ({"weights": None}, {"activations": (1 << 20) + 2}, {"lda": 68}, {"out": None}):
                with self.assertRaisesRegex(nvfp4.InvalidArgument, "^NVFP4_INVALID_ARGUMENT: ."):
                    gemm.launch(1, **(good | bad))
            with self.assertRaises(nvfp4.InvalidArgument):
                gemm.launch(1, **(good | {"out": np.zeros(4)}))  # host memory has no device address
            with self.assertRaises(nvfp4.InvalidArgument):
                gemm.launch(1, **good, out_type="int8")
        for n, k, act in ((0, 64, "bf16"), (64, 24, "bf16"), (64, 64, "fp32"), (64, 64, "int4")):
            with self.assertRaises(nvfp4.InvalidArgument):
                self.context.prepare(n, k, act)
        with self.assertRaises(nvfp4.InvalidArgument):
            self.context.prepare(64, 64, m_min=8, m_max=4)

    def test_an_unknown_device_is_named(self) -> None:
        with self.assertRaisesRegex(nvfp4.Nvfp4Error, "emulated:abacus"):
            nvfp4.Context("emulated:abacus")

    def test_closed_handles_are_invalid_and_closing_again_is_nothing(self) -> None:
        context = open_context()
        with context.prepare(64, 64) as gemm:
            kept = gemm.handle
        gemm.close()
        with self.assertRaises(nvfp4.InvalidHandle):
            gemm.launch(1, weights=1, global_scales=1, activations=1, out=1)
        with self.assertRaises(nvfp4.InvalidHandle):
            _library.call("gemm_destroy", kept)
        context.close()
        context.close()
        with self.assertRaises(nvfp4.InvalidHandle):
            context.lookup(64, 64, 1)

    def test_what_nobody_holds_is_freed(self) -> None:
        context = open_context()
        gemm = context.prepare(64, 64)
        handles = context.handle, gemm.handle
        del context, gemm
        gc.collect()
        for name, handle in zip(("context_destroy", "gemm_destroy"), handles):
            with self.assertRaises(nvfp4.InvalidHandle):
                _library.call(name, handle)

    def test_a_forked_child_is_told_so(self) -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.context.lookup(64, 64, 1)
            except nvfp4.Forked:
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_the_log_hears_what_the_context_goes_on_without(self) -> None:
        lines: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "db"
            database.write_text("no database at all, and long enough to be looked at" * 20)
            nvfp4.Context("emulated:h100", database=str(database), cache="", log=lines.append).close()
        self.assertTrue(any("db" in line for line in lines), lines)


class CapturingDriver:
    """The driver as _workspace sees it, with captures and graphs that the test begins and ends."""

    def __init__(self, emulator: Emulator) -> None:
        self.cuMemAlloc_v2 = emulator.driver.cuMemAlloc_v2
        self.capture = 0  # its number, and its graph's
        self.modes: list[int] = []
        self.objects: dict[int, list[ctypes.c_void_p]] = {}  # graph: semaphores
        self.made: list[tuple[ctypes.c_void_p, ctypes.c_void_p]] = []

    def cuThreadExchangeStreamCaptureMode(self, mode) -> int:
        self.modes.append(mode._obj.value)
        return 0

    def cuStreamGetCaptureInfo_v2(self, stream, status, number, graph, *_: object) -> int:
        number._obj.value = graph._obj.value = self.capture
        return 0

    def cuUserObjectCreate(self, out, semaphore, post, count: int, flags: int) -> int:
        self.made.append((semaphore, post))
        out._obj.value = len(self.made)
        return 0

    def cuGraphRetainUserObject(self, graph, user_object, count: int, flags: int) -> int:
        self.objects.setdefault(graph.value, []).append(user_object)
        return 0

    def end(self, graph: int) -> None:
        """The graph is destroyed: the driver calls the destructors."""
        for user_object in self.objects.pop(graph):
            semaphore, post = self.made[user_object.value - 1]
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(post.value)(semaphore)


class WorkspacesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.context = open_context()
        self.addCleanup(self.context.close)
        self.driver = CapturingDriver(Emulator())
        patch = unittest.mock.patch.object(_workspace, "_driver", lambda: self.driver)
        patch.start()
        self.addCleanup(patch.stop)
        self.spaces = _workspace.Workspaces(self.context)

    def of_capture(self, number: int, nbytes: int = 1000) -> int:
        self.driver.capture = number
        return self.spaces.of_capture(0, nbytes)

    def test_a_stream_keeps_its_workspace_until_it_is_too_small(self) -> None:
        first = self.spaces.of_stream(0, 1000)
        self.assertEqual(first % 256, 0)
        self.assertEqual(self.spaces.of_stream(0, _workspace.LEAST_BYTES), first)
        larger = self.spaces.of_stream(0, _workspace.LEAST_BYTES + 1)
        self.assertNotEqual(larger, first)
        self.assertEqual(self.spaces.of_stream(0, 2 * _workspace.LEAST_BYTES), larger)
        self.assertEqual(self.driver.modes[0], 2)  # relaxed, so that no capture is disturbed

    def test_each_capture_has_its_own(self) -> None:
        stream = self.spaces.of_stream(0, 1000)
        first, second = self.of_capture(7), self.of_capture(8)
        self.assertEqual(len({stream, first, second}), 3)
        self.assertEqual(self.of_capture(7), first)

    def test_what_a_dead_graph_had_goes_to_the_next_capture_and_not_before(self) -> None:
        first, second = self.of_capture(7), self.of_capture(8)
        self.driver.end(7)
        self.assertEqual(self.of_capture(8), second)
        self.assertEqual(self.of_capture(9), first)
        self.assertNotIn(self.of_capture(10), (first, second))
        self.driver.end(9)
        self.assertNotEqual(self.of_capture(11, 2 * _workspace.LEAST_BYTES), first)  # too small

    def test_a_capture_that_needs_more_keeps_both_until_it_ends(self) -> None:
        small = self.of_capture(7)
        large = self.of_capture(7, 2 * _workspace.LEAST_BYTES)
        self.assertEqual(self.of_capture(7), large)
        self.assertNotIn(self.of_capture(8), (small, large))
        self.driver.end(7)
        self.assertEqual({self.of_capture(9), self.of_capture(10)}, {small, large})

    def test_an_allocation_that_fails_is_out_of_memory(self) -> None:
        with self.assertRaisesRegex(nvfp4.OutOfMemory, "workspace of"):
            self.spaces.of_stream(0, 1 << 45)


def safetensors(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return framed(json.dumps(header), data)


def framed(header: "str | bytes", data: bytes = b"") -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return len(header).to_bytes(8, "little") + header + data


def modelopt(name: str, codes: np.ndarray, scales: np.ndarray, scale: float) -> dict:
    return {f"{name}.weight": ("U8", codes.shape, codes.tobytes()),
            f"{name}.weight_scale": ("F8_E4M3", scales.shape, scales.tobytes()),
            f"{name}.weight_scale_2": ("F32", (), np.float32(scale).tobytes()),
            f"{name}.input_scale": ("F32", (), np.float32(3).tobytes())}


def compressed(name: str, codes: np.ndarray, scales: np.ndarray, scale: float) -> dict:
    return {f"{name}.weight_packed": ("U8", codes.shape, codes.tobytes()),
            f"{name}.weight_scale": ("F8_E4M3", scales.shape, scales.tobytes()),
            f"{name}.weight_global_scale": ("F32", (1,), np.float32(1 / scale).tobytes())}


class CheckpointTest(unittest.TestCase):
    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def write(self, content: bytes, name: str = "model.safetensors") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def refused(self, content: bytes, words: str) -> None:
        path = self.write(content)
        with self.assertRaisesRegex(nvfp4.BadData, words) as caught:
            checkpoint.Checkpoint(path)
        self.assertIn(str(path), str(caught.exception))

    def test_both_conventions_give_the_same_matrix(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 7)
        norm = {"norm.weight": ("BF16", (2,), b"\x80\x3f\x00\x40")}
        for form in (modelopt, compressed):
            found = checkpoint.Checkpoint(self.write(
                safetensors(norm | form("a.b", codes, scales, 0.125))))
            self.assertEqual(found.names, ("a.b",))
            (matrix,) = found
            np.testing.assert_array_equal(matrix.codes, codes)
            np.testing.assert_array_equal(matrix.scales, scales)
            self.assertEqual((matrix.global_scale, matrix.name), (0.125, "a.b"))
            self.assertIn("norm.weight", found.others)
            dtype, bits = found.tensor("norm.weight")
            self.assertEqual((dtype, list(bits)), ("BF16", [0x3F80, 0x4000]))

    def test_shards_are_read_through_their_index(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 8)
        tensors = modelopt("a", codes, scales, 0.5)
        names = {"one.safetensors": list(tensors)[:1], "two.safetensors": list(tensors)[1:]}
        for file, held in names.items():
            self.write(safetensors({name: tensors[name] for name in held}), file)
        weight_map = {name: file for file, held in names.items() for name in held}
        index = self.write(json.dumps({"metadata": {}, "weight_map": weight_map}).encode(),
                           checkpoint.INDEX)
        found = checkpoint.Checkpoint(self.folder)
        np.testing.assert_array_equal(found.matrix("a").codes, codes)
        for broken, words in (
                ({"weight_map": weight_map | {"x": "../one.safetensors"}}, "no file name"),
                ({"weight_map": weight_map | {"x": "three.safetensors"}}, "missing"),
                ({"weight_map": weight_map | {"x": "one.safetensors"}}, "not in one"),
                ({"weight_map": {"a": 1}}, "weight_map"), ({}, "weight_map"), ([], "object")):
            index.write_text(json.dumps(broken))
            with self.assertRaisesRegex(nvfp4.BadData, words):
                checkpoint.Checkpoint(self.folder)

    def test_a_name_in_two_shards_is_refused(self) -> None:
        tensor = {"a": ("U8", (1,), b"x")}
        for name in ("one.safetensors", "two.safetensors"):
            self.write(safetensors(tensor | {name: ("U8", (1,), b"y")}), name)
        self.write(json.dumps({"weight_map": {"a": "one.safetensors",
                                              "two.safetensors": "two.safetensors"}}).encode(),
                   checkpoint.INDEX)
        with self.assertRaisesRegex(nvfp4.BadData, "a is in"):
            checkpoint.Checkpoint(self.folder)

    def test_hostile_headers_are_refused(self) -> None:
        entry = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
        good = framed(f'{{"a":{entry}}}', b"1234")
        checkpoint.Checkpoint(self.write(good))
        cases = [
            (b"", "bytes are no"), (good[:7], "bytes are no"), (good[:-1], "end at byte"),
            (good[:20], "header of"), (b"\xff" * 8 + good[8:], "header of"),
            ((2**63).to_bytes(8, "little") + good[8:], "header of"),
            (good + b"5", "end at byte"), (framed(b"\xff{}"), "bad JSON"), (framed("{"), "bad JSON"),
            (framed("[]"), "no object"), (framed("[" * 100_000), "bad JSON"),
            (framed(f'{{"a":{entry},"a":{entry}}}', b"1234"), "twice"),
            (framed('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
             "twice"),
            (framed('{"__metadata__":{"x":1}}'), "__metadata__"),
            (framed('{"__metadata__":[]}'), "__metadata__")]
        for entries, words in (
                ([("U9", [4], [0, 4])], "dtype"), ([(["U8"], [4], [0, 4])], "dtype"),
                ([("U8", [-4], [0, 4])], "shape"), ([("U8", [2.0, 2], [0, 4])], "shape"),
                ([("U8", [True, 4], [0, 4])], "shape"), ([("U8", "4", [0, 4])], "shape"),
                ([("U8", [1] * 33, [0, 4])], "shape"), ([("U8", [4], [4, 0])], "data_offsets"),
                ([("U8", [4], [0])], "data_offsets"), ([("U8", [4], [0, 2**70])], "data_offsets"),
                ([("U8", [5], [0, 4])], "takes 4"), ([("F32", [4], [0, 4])], "its shape 16"),
                ([("U8", [2**40, 2**40], [0, 4])], "takes 4"),
                ([("U8", [4], [4, 8])], "gap"), ([("U8", [8], [0, 8])], "end at byte"),
                ([("U8", [3], [0, 3]), ("U8", [2], [2, 4])], "overlaps"),
                ([("U8", [4], [0, 4]), ("U8", [4], [0, 4])], "overlaps"),
                ([("U8", [1], [0, 1]), ("U8", [1], [3, 4])], "gap")):
            header = {str(i): {"dtype": d, "shape": s, "data_offsets": o}
                      for i, (d, s, o) in enumerate(entries)}
            cases.append((framed(json.dumps(header), b"1234"), words))
        for missing in ("dtype", "shape", "data_offsets"):
            header = {"a": {k: v for k, v in json.loads(entry).items() if k != missing}}
            cases.append((framed(json.dumps(header), b"1234"), "exactly"))
        cases.append((framed(json.dumps({"a": json.loads(entry) | {"x": 1}}), b"1234"), "exactly"))
        cases.append((framed('{"a":7}', b""), "exactly"))
        for content, words in cases:
            with self.subTest(words=words, start=content[:90]):
                self.refused(content, words)

    def test_incomplete_or_senseless_matrices_are_refused_when_asked_for(self) -> None:
        codes, scales, _ = exact_operands(3, 32, 1, 9)
        whole = modelopt("a", codes, scales, 0.5)
        for change, words in (
                ({"a.weight": None}, "a.weight is missing"),
                ({"a.weight_scale": None}, "a.weight_scale is missing"),
                ({"a.weight": ("F16", (3, 8), bytes(48))}, "is F16, not U8"),
                ({"a.weight_scale": ("U8", (3, 2), bytes(6))}, "is U8, not F8_E4M3"),
                ({"a.weight_scale": ("F8_E4M3", (2, 3), bytes(6))}, "a: scales of shape"),
                ({"a.weight": ("U8", (48,), bytes(48))}, "a: codes of shape"),
                ({"a.weight_scale_2": ("F32", (3,), bytes(12))}, "not one number"),
                ({"a.weight_scale_2": ("F32", (), bytes(4))}, "is 0.0"),
                ({"a.weight_scale_2": ("F32", (), b"\0\0\xc0\x7f")}, "is nan"),
                ({"a.weight_scale_2": ("F32", (), b"\0\0\x80\xbf")}, "is -1.0")):
            with self.subTest(words=words):
                tensors = {k: v for k, v in (whole | change).items() if v}
                found = checkpoint.Checkpoint(self.write(safetensors(tensors)))
                with self.assertRaisesRegex(nvfp4.BadData, words):
                    found.matrix("a")
        tiny = compressed("a", codes, scales, 0.5)
        tiny["a.weight_global_scale"] = ("F32", (1,), np.float32(1e-45).tobytes())
        with self.assertRaises(nvfp4.BadData):  # its reciprocal is no float32
            checkpoint.Checkpoint(self.write(safetensors(tiny))).matrix("a")
        with self.assertRaises(KeyError):
            checkpoint.Checkpoint(self.write(safetensors(whole))).matrix("b")


class WheelTest(unittest.TestCase):
    def test_the_wheel_runs_from_where_it_is_unpacked(self) -> None:
        libraries = Path(_library.library()._name).parent
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel.write(libraries, Path(folder))
            again = build_wheel.write(libraries, Path(folder) / "again")
            self.assertEqual(wheel.read_bytes(), again.read_bytes())
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(Path(folder) / "site")
                record = archive.read(f"nvfp4-{nvfp4.version()}.dist-info/RECORD").decode()
                self.assertEqual(sorted(line.split(",")[0] for line in record.splitlines()),
                                 sorted(archive.namelist()))
            code = ("import nvfp4\nprint(nvfp4.__file__)\n"
                    "with nvfp4.Context('emulated:h100', database='', cache='') as c:\n"
                    "    print(c.device.name)")
            environment = {k: v for k, v in os.environ.items()
                           if k not in ("NVFP4_LIBRARY", "NVFP4_EMULATOR")}
            shown = subprocess.run([sys.executable, "-B", "-c", code], check=True, text=True,
                                   capture_output=True, cwd=folder,
                                   env=environment | {"PYTHONPATH": f"{folder}/site"}).stdout
            self.assertIn(f"{folder}/site", shown)
            self.assertIn("H100", shown)


if __name__ == "__main__":
    unittest.main()
