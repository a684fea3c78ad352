#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package's weights, its view of the C interface, and its wheel. Needs numpy, and the library
(NVFP4_LIBRARY or a build tree)."""
import ctypes
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

from python_oracle import bf16_bits, e2m1, e4m3, exact_operands, np, weights_of

import build_wheel
import nvfp4
from nvfp4 import _library

ROOT = Path(__file__).resolve().parents[1]


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
