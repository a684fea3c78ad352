#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package on the emulated device: contexts, launches, errors and workspaces."""
import ctypes
import gc
import os
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from python_oracle import Emulator, bf16_bits, exact_operands, np, open_context, weights_of

import nvfp4
from nvfp4 import _library, _workspace


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

    def test_one_launch_runs_all_experts(self) -> None:
        tokens, n, k = (3, 0, 5), 72, 64
        experts = [exact_operands(n, k, max(count, 1), seed) for seed, count in enumerate(tokens)]
        packed = [nvfp4.pack(nvfp4.Matrix(codes, scales, 0.5)) for codes, scales, _ in experts]
        rows = np.concatenate([x[:count] for (_, _, x), count in zip(experts, tokens)])
        up = self.emulator.upload
        out = up(np.full((sum(tokens), n), np.nan, np.float32))
        with self.context.prepare(n, k, m_max=16, experts=len(tokens)) as gemm:
            gemm.launch(sum(tokens), weights=up(np.concatenate([p.data for p in packed])),
                        global_scales=up(np.concatenate([p.global_scales for p in packed])),
                        activations=up(bf16_bits(rows)), out=out, out_type="fp32",
                        expert_offsets=up(np.cumsum([0, *tokens], dtype=np.int32)))
        got = self.emulator.download(out, (sum(tokens), n), np.float32)
        want = np.concatenate([x[:count] @ weights_of(codes, scales, 0.5).T
                               for (codes, scales, x), count in zip(experts, tokens)])
        np.testing.assert_array_equal(got, want)

    def test_parts_of_a_stack_write_to_buffers_of_their_own(self) -> None:
        parts = [exact_operands(n, 64, 3, n) for n in (70, 40)]
        packed = nvfp4.pack(*(nvfp4.Matrix(codes, scales, 0.5) for codes, scales, _ in parts))
        activations, up = parts[0][2], self.emulator.upload
        outs = [up(np.full((3, width), np.nan, np.float32)) for width in (70, 48)]
        with self.context.prepare(packed.rows, 64, m_max=4, part_rows=packed.part_rows) as gemm:
            workspace = self.emulator.alloc(max(gemm.workspace_bytes, 1))
            self.context.init_workspace(workspace, gemm.workspace_bytes)
            gemm.launch(3, weights=up(packed.data), global_scales=up(packed.global_scales),
                        activations=up(bf16_bits(activations)), out_type="fp32",
                        outputs=[(outs[0], 0), (outs[1], 48)], workspace=workspace,
                        workspace_bytes=gemm.workspace_bytes)
        for out, width, (codes, scales, _) in zip(outs, (70, 48), parts):
            got = self.emulator.download(out, (3, width), np.float32)
            want = activations @ weights_of(codes, scales, 0.5).T
            np.testing.assert_array_equal(got[:, :len(codes)], want)
            self.assertTrue(np.isnan(got[:, len(codes):]).all())

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


if __name__ == "__main__":
    unittest.main()
