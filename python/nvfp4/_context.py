# SPDX-License-Identifier: Apache-2.0
"""A device and its kernels: Context (what nvfp4_context is) and Gemm (what nvfp4_prepare gives).

Operands of a launch are device memory of the caller's: an address, or anything that knows its own
(`data_ptr()` of torch, `__cuda_array_interface__` of CuPy, Numba and JAX). Nothing is copied, and
nobody checks that the memory is long enough.
"""
import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref
from typing import Any, NamedTuple

from . import _library
from ._library import InvalidArgument, call

DTYPES = {"bf16": _library.BF16, "fp16": _library.FP16, "fp32": _library.FP32}
_logs: list[Any] = []  # never dropped: GEMMs outlive their contexts and may still have to tell

MATCHES = ("exact", "interval", "near", "policy", "act", "default")


class Device(NamedTuple):
    name: str
    compute_capability: tuple[int, int]
    sm_count: int
    memory_bytes: int
    emulated: bool


class Selection(NamedTuple):
    """Which config runs, and who says so: `match` is exact, interval, near, policy (measured with
    another launch policy), act (with the other activation type) or default (nothing measured: the
    cost model's choice)."""

    config: str
    match: str
    measured: bool
    expected_us: float  # 0: unknown
    f: float  # fraction of the roofline; 0: unknown
    m_tuned: int  # 0: default


def address(memory: Any) -> int:
    """The device address of `memory`; None is 0."""
    if memory is None:
        return 0
    if isinstance(memory, int):
        return memory
    if hasattr(memory, "data_ptr"):
        return memory.data_ptr()
    if hasattr(memory, "__cuda_array_interface__"):
        return memory.__cuda_array_interface__["data"][0]
    raise InvalidArgument(f"a {type(memory).__name__} has no device address")


def _dtype(name: str) -> int:
    if name not in DTYPES:
        raise InvalidArgument(f"unknown type {name!r}: known are {', '.join(DTYPES)}")
    return DTYPES[name]


class _Owner:
    """Of a handle that is destroyed once: by close(), at the end of a with block, or with the
    object. A call on a closed one raises InvalidHandle."""

    _destroy = ""
    handle = 0

    def close(self) -> None:
        handle, self.handle = self.handle, 0
        if handle:
            call(self._destroy, handle)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # the interpreter ends, or the device is gone: nobody is left to tell
            pass


class Context(_Owner):
    """A device with its tuning database, compiler and kernel cache.

    device    None: the CUDA context that is current, else the primary one of GPU 0; "N": GPU N;
              "emulated:h100": no GPU, for tests
    database  None: the user's; "": none
    cache     None: the user's; "": kernels in memory only
    log       called with one line, from any thread, for whatever the library went on without

    Raises NoDevice, NoCompiler or DriverError. GEMMs outlive their context.
    """

    _destroy = "context_destroy"

    def __init__(self, device: str | None = None, *, database: str | None = None,
                 cache: str | None = None, log: Callable[[str], None] | None = None):
        options = _library.ContextOptions(device=_text(device), database=_text(database),
                                          cache=_text(cache))
        if log:
            options.log = _library.Log(lambda _, line: log(line.decode(errors="replace")))
            _logs.append(options.log)
        handle = ctypes.c_uint64()
        call("context_create", byref(options), byref(handle))
        self.handle = handle.value

    @property
    def device(self) -> Device:
        info = _library.DeviceInfo()
        call("device", self.handle, byref(info))
        return Device(info.name.decode(), (info.compute_major, info.compute_minor), info.sm_count,
                      info.memory_bytes, bool(info.emulated))

    def lookup(self, n: int, k: int, m: int, act: str = "bf16", *, pdl: bool = False) -> Selection:
        """Which config would run m tokens of an [n, k] matrix."""
        found = _library.Selection()
        call("lookup", self.handle, byref(_problem(n, k, act, pdl)), m, byref(found))
        return Selection(found.config.decode(), MATCHES[found.match], bool(found.measured),
                         found.expected_us, found.f, found.m_tuned)

    def prepare(self, n: int, k: int, act: str = "bf16", *, m_min: int = 1, m_max: int = 64,
                pdl: bool = False, part_rows: Sequence[int] | None = None,
                experts: int = 0) -> "Gemm":
        """The kernels for launches of up to m_max tokens, best from m_min on. May compile.

        n          Packed.rows
        act        "bf16" or "fp16": the type of activations and bias
        pdl        launches may start before their predecessor on the stream has finished; weights
                   must then be complete before that predecessor started
        part_rows  of a stack whose parts write to buffers of their own
        experts   so many matrices, one after another, of tokens sorted by expert; 0: one matrix
        """
        handle = ctypes.c_uint64()
        problem = _problem(n, k, act, pdl, part_rows, experts)
        call("prepare", self.handle, byref(problem), m_min, m_max, byref(handle))
        return Gemm(handle.value, n, k, act, m_min, m_max)

    def init_workspace(self, workspace: Any, nbytes: int, stream: int = 0) -> None:
        """Once before a workspace's first launch, and again after any failed one."""
        call("workspace_init", self.handle, address(workspace), nbytes, stream)

    def dequantize(self, packed: Any, global_scales: Any, n: int, k: int, out: Any,
                   out_type: str = "bf16", stream: int = 0) -> None:
        """Packed weights as numbers: out [n, k] of `out_type`, one rounding. All device memory."""
        arguments = _library.DequantizeArgs(
            n=n, k=k, packed=address(packed), global_scales=address(global_scales),
            out=address(out), out_type=_dtype(out_type))
        call("dequantize", self.handle, byref(arguments), stream)


class Gemm(_Owner):
    """The loaded kernels of one shape for a range of M. Destroy it only when no graph that holds its
    launches may still run."""

    _destroy = "gemm_destroy"

    def __init__(self, handle: int, n: int, k: int, act: str, m_min: int, m_max: int):
        self.handle = handle
        self.n, self.k, self.act, self.m_min, self.m_max = n, k, act, m_min, m_max
        self.act_code = DTYPES[act]
        size = ctypes.c_size_t()
        call("workspace_size", handle, byref(size))
        self.workspace_bytes = size.value  # of any launch; 0: none
        self._launch = _library.library().nvfp4_launch

    def launch(self, m: int, *, weights: Any, global_scales: Any, activations: Any, out: Any = None,
               out_type: str | None = None, bias: Any = None, lda: int = 0, ldo: int = 0,
               outputs: Sequence[tuple[Any, int]] | None = None, expert_offsets: Any = None,
               workspace: Any = None, workspace_bytes: int = 0, stream: int = 0) -> None:
        """Enqueues out[m, n] = g(n) * sum_k A[m, k] * W[n, k] + bias[n]; may be captured in a graph.

        weights, global_scales  of a Packed, on the device
        activations  [m, k] of the GEMM's type, rows 16-byte aligned; lda: row stride in elements,
                     0 or a multiple of 8
        out          [m, n] of out_type (None: the GEMM's type); ldo: row stride in elements
        outputs      instead of out, for part_rows: (out, ldo) of each part
        expert_offsets  [experts + 1] int32, for experts: rows of expert e are [e], [e + 1]
        workspace    workspace_bytes or more, 256-byte aligned, initialised; one for launches that
                     run one after another, another for each stream or graph beside them
        stream       a CUstream as an integer
        """
        parts = None
        if outputs is not None:
            parts = (_library.Output * len(outputs))(*((address(o), ldo) for o, ldo in outputs))
        self.launch_raw(m, address(weights), address(global_scales), address(activations), lda,
                        address(bias), address(out), ldo,
                        self.act_code if out_type is None else _dtype(out_type),
                        ctypes.addressof(parts) if parts else 0, len(parts) if parts else 0,
                        address(expert_offsets), address(workspace), workspace_bytes, stream)

    def launch_raw(self, m: int, weights: int, global_scales: int, activations: int, lda: int,
                   bias: int, out: int, ldo: int, out_type: int, outputs: int, output_count: int,
                   expert_offsets: int, workspace: int, workspace_bytes: int, stream: int) -> None:
        """launch() on addresses, the shortest way."""
        arguments = _library.launch_args(m, weights, global_scales, activations, lda, bias, out, ldo,
                                         out_type, outputs, output_count,
                                         expert_offsets, workspace, workspace_bytes)
        if status := self._launch(self.handle, arguments, stream):
            _library.check(status)


def _text(value: str | None) -> bytes | None:
    return None if value is None else str(value).encode()


def _problem(n: int, k: int, act: str, pdl: bool,
             part_rows: Sequence[int] | None = None, experts: int = 0) -> _library.Problem:
    problem = _library.Problem(n=n, k=k, act=_dtype(act), flags=_library.PDL if pdl else 0,
                               experts=experts)
    if part_rows:
        problem.part_rows = (ctypes.c_int64 * len(part_rows))(*part_rows)
        problem.part_count = len(part_rows)
    return problem
