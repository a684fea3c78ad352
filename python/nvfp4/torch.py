# SPDX-License-Identifier: Apache-2.0
"""NVFP4 in PyTorch (2.4 or newer): the operator torch.ops.nvfp4.gemm, and Linear, which replaces
torch.nn.Linear.

    nvfp4.torch.replace_linears(model)             # quantises, or: load_checkpoint(model, path)
    nvfp4.torch.prepare(model, max_tokens=64)      # compiles or loads the kernels ahead of time

The operator allocates its output and nothing else, and never waits, so it may be captured in a CUDA
graph once its kernels are there: by prepare(), or because it ran before with as many tokens. It works
under torch.compile and has no gradient.

Workspaces: each stream has one, and each captured graph its own (one for each of its streams), so
streams and graphs may run beside one another. A graph's workspace is cleared by the graph's first
launch and goes to another graph when the graph is gone.
"""
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ._context import Context, Gemm
from ._library import BadData, InvalidArgument
from ._weights import BLOCK, TILE, Matrix, Packed, pack, quantize
from ._workspace import Workspaces
from .checkpoint import Checkpoint

__all__ = ["Linear", "load_checkpoint", "prepare", "replace_linears"]

_TILE_BYTES = 2304  # of 64 x 64 packed weights
_ACTS = {torch.bfloat16: "bf16", torch.float16: "fp16"}
_DTYPES = _ACTS | {torch.float32: "fp32"}
# Kernels are prepared for 1 to 64 tokens at once and then from one power of two to the next, which
# compiles what is used and bounds how often a growing batch waits.
_LEAST_BUCKET = 6


class _Key(NamedTuple):
    index: int  # of the GPU
    n: int
    k: int
    dtype: torch.dtype
    pdl: bool
    bucket: int  # launches of up to 2^bucket tokens


_prepared: dict[tuple, Gemm] = {}  # never dropped: a graph may hold the kernels
_lock = threading.Lock()


def _bucket(tokens: int) -> int:
    return max(_LEAST_BUCKET, (tokens - 1).bit_length())


@functools.cache
def _context(index: int) -> Context:
    return Context(str(index))


@functools.cache
def _workspaces(index: int) -> Workspaces:
    return Workspaces(_context(index))


def _prepare(key: _Key) -> Gemm:
    with _lock:
        if gemm := _prepared.get(key):
            return gemm
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f"nvfp4::gemm of {key.n} x {key.k} is not prepared for {2 ** key.bucket} tokens: call "
                "nvfp4.torch.prepare(model, max_tokens) or run it once before the capture")
        m_min = 1 if key.bucket == _LEAST_BUCKET else 2 ** (key.bucket - 1) + 1
        gemm = _context(key.index).prepare(key.n, key.k, _ACTS[key.dtype], m_min=m_min,
                                           m_max=2**key.bucket, pdl=key.pdl)
        _prepared[key] = gemm
        return gemm


def _check(x: torch.Tensor, packed: torch.Tensor, global_scales: torch.Tensor,
           bias: torch.Tensor | None, n: int) -> None:
    """What only the tensors know; the library checks the rest. Runs under tracing too."""
    k, tiles = x.shape[-1], -(-n // TILE)
    if x.dtype not in _ACTS:
        raise TypeError(f"nvfp4::gemm: activations are {x.dtype}, not bfloat16 or float16")
    if (packed.dtype != torch.uint8 or packed.numel() != tiles * -(-k // TILE) * _TILE_BYTES
            or k % BLOCK):
        raise ValueError(f"nvfp4::gemm: {packed.numel()} packed bytes are no matrix of {n} x {k}")
    if global_scales.dtype != torch.float32 or global_scales.numel() != tiles:
        raise ValueError(f"nvfp4::gemm: {global_scales.numel()} global scales of "
                         f"{global_scales.dtype} for {tiles} tiles of 64 rows")
    if bias is not None and (bias.dtype != x.dtype or bias.shape != (n,)):
        raise ValueError(f"nvfp4::gemm: bias is {tuple(bias.shape)} of {bias.dtype}, not ({n},) of "
                         f"{x.dtype}")
    if torch.is_grad_enabled() and x.requires_grad:
        raise RuntimeError("nvfp4::gemm has no gradient: run it under torch.no_grad() or "
                           "torch.inference_mode()")


def _gemm(x: torch.Tensor, packed: torch.Tensor, global_scales: torch.Tensor,
          bias: torch.Tensor | None, n: int, pdl: bool = False) -> torch.Tensor:
    _check(x, packed, global_scales, bias, n)
    index = x.get_device()
    if index < 0:  # the weights' device chose this kernel
        raise ValueError("nvfp4::gemm: activations are on the CPU, weights on a GPU")
    if index != torch._C._cuda_getDevice():
        with torch.cuda.device(index):
            return _gemm(x, packed, global_scales, bias, n, pdl)
    if packed.get_device() != index or global_scales.get_device() != index or (
            bias is not None and bias.get_device() != index):
        raise ValueError(f"nvfp4::gemm: activations are on GPU {index}, weights or bias elsewhere")
    k = x.shape[-1]
    out = x.new_empty((*x.shape[:-1], n))
    m = x.numel() // k
    if m == 0:
        return out
    if x.dim() == 2 and x.stride(1) == 1 and x.stride(0) % 8 == 0 and x.stride(0) >= k:
        lda = x.stride(0)  # a slice of columns needs no copy
    else:
        x, lda = x.contiguous(), k
    if x.data_ptr() % 16:
        x, lda = x.clone(memory_format=torch.contiguous_format), k
    key = (index, n, k, x.dtype, pdl, _bucket(m))
    gemm = _prepared.get(key) or _prepare(_Key(*key))
    stream = torch._C._cuda_getCurrentRawStream(index)
    nbytes, workspace = gemm.workspace_bytes, 0
    if nbytes:
        spaces = _workspaces(index)
        capturing = torch.cuda.is_current_stream_capturing()
        workspace = (spaces.of_capture if capturing else spaces.of_stream)(stream, nbytes)
    gemm.launch_raw(m, packed.data_ptr(), global_scales.data_ptr(), x.data_ptr(), lda,
                    0 if bias is None else bias.data_ptr(), out.data_ptr(), n, gemm.act_code, 0,
                    0, 0, workspace, nbytes, stream)
    return out


def _gemm_fake(x: torch.Tensor, packed: torch.Tensor, global_scales: torch.Tensor,
               bias: torch.Tensor | None, n: int, pdl: bool = False) -> torch.Tensor:
    _check(x, packed, global_scales, bias, n)
    return x.new_empty((*x.shape[:-1], n))


# torch.library.custom_op would do the same with more Python around every call.
_operators = torch.library.Library("nvfp4", "DEF")
_operators.define("gemm(Tensor x, Tensor packed, Tensor global_scales, Tensor? bias, int n, "
                  "bool pdl=False) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
_operators.impl("gemm", _gemm, "CUDA")
torch.library.register_fake("nvfp4::gemm", _gemm_fake, lib=_operators)
_op = torch.ops.nvfp4.gemm.default


class Linear(torch.nn.Module):
    """torch.nn.Linear with NVFP4 weights: [..., in_features] to [..., out_features], in bf16 or fp16.

    packed         uint8 buffer, the form that kernels read (not the checkpoint's bytes)
    global_scales  float32 buffer, one per 64 rows; a cast of the module does not touch it
    bias           buffer of the activations' type, or None
    pdl            launches may start before the kernel ahead of them on the stream has finished. Set
                   it only where no kernel writes weights directly before a launch that reads them.

    The buffers are the whole state: state_dict() of one loads into another of the same sizes.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, *,
                 dtype: torch.dtype = torch.bfloat16, device: Any = None, pdl: bool = False):
        super().__init__()
        if in_features < 1 or in_features % BLOCK or out_features < 1:
            raise InvalidArgument(f"{out_features} x {in_features}: in_features must be a multiple of "
                                  f"{BLOCK}, out_features at least 1")
        self.in_features, self.out_features = in_features, out_features
        self.dtype, self.pdl = dtype, pdl
        tiles = -(-out_features // TILE)
        nbytes = tiles * -(-in_features // TILE) * _TILE_BYTES
        self.register_buffer("packed", torch.zeros(nbytes, dtype=torch.uint8, device=device))
        self.register_buffer("global_scales", torch.ones(tiles, device=device, dtype=torch.float32))
        self.register_buffer(
            "bias", torch.zeros(out_features, dtype=dtype, device=device) if bias else None)

    @classmethod
    def from_matrix(cls, matrix: Matrix, *, bias: torch.Tensor | None = None,
                    dtype: torch.dtype = torch.bfloat16, device: Any = None, pdl: bool = False,
                    threads: int = 0) -> "Linear":
        """Of a matrix in checkpoint form. Raises BadData for a NaN scale."""
        packed = pack(matrix, threads=threads)
        return cls._of(packed.k, packed.rows, torch.from_numpy(packed.data).to(device=device),
                       torch.from_numpy(packed.global_scales).to(device=device),
                       None if bias is None else bias.detach().to(device=device, dtype=dtype),
                       dtype, pdl)

    @classmethod
    def from_checkpoint(cls, codes: Any, scales: Any, global_scale: float, **options: Any) -> "Linear":
        """Of checkpoint bytes: codes [n, k/2], scales [n, k/16] (E4M3), and the global scale that
        multiplies. Options as in from_matrix."""
        return cls.from_matrix(Matrix(codes, scales, float(global_scale)), **options)

    @classmethod
    def from_linear(cls, linear: torch.nn.Linear, power_of_two: bool = False, *, pdl: bool = False,
                    threads: int = 0) -> "Linear":
        """Quantises a torch.nn.Linear, on its device and in its type (float32 becomes bfloat16)."""
        weight = linear.weight
        dtype = weight.dtype if weight.dtype in _ACTS else torch.bfloat16
        return cls.from_matrix(quantize(weight, power_of_two), bias=linear.bias, dtype=dtype,
                               device=weight.device, pdl=pdl, threads=threads)

    @classmethod
    def stack(cls, *parts: "Linear") -> "Linear":
        """Several with the same input as one, outputs side by side: q, k and v, or gate and up. Each
        keeps its own global scale, so results are the same. All parts but the last must have a
        multiple of 64 outputs, and all must be alike in bias, type, device and pdl."""
        first = parts[0]
        for part in parts:
            if (part.in_features, part.bias is None, part.dtype, part.pdl) != (
                    first.in_features, first.bias is None, first.dtype, first.pdl):
                raise InvalidArgument(f"{part} does not stack with {first}")
            if part is not parts[-1] and part.out_features % TILE:
                raise InvalidArgument(f"{part} is followed by another, so its outputs must be a "
                                      f"multiple of {TILE}")
        # Tiles lie row by row, so a stack of packed matrices is one behind the other.
        return cls._of(first.in_features, sum(part.out_features for part in parts),
                       torch.cat([part.packed for part in parts]),
                       torch.cat([part.global_scales for part in parts]),
                       None if first.bias is None else torch.cat([part.bias for part in parts]),
                       first.dtype, first.pdl)

    @classmethod
    def _of(cls, in_features: int, out_features: int, packed: torch.Tensor,
            global_scales: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype,
            pdl: bool) -> "Linear":
        self = cls(in_features, out_features, bias is not None, dtype=dtype, device="meta", pdl=pdl)
        self.packed, self.global_scales, self.bias = packed, global_scales, bias
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.in_features:  # padded to 64, its bytes do not tell 80 from 96
            raise ValueError(f"{self} got activations of shape {tuple(x.shape)}")
        return _op(x, self.packed, self.global_scales, self.bias, self.out_features, self.pdl)

    def dequantized_linear(self, dtype: torch.dtype | None = None) -> torch.nn.Linear:
        """The same as torch.nn.Linear, for comparison: weights of `dtype` (None: the module's), one
        rounding each, none if they were quantised with power_of_two."""
        dtype, n, k = dtype or self.dtype, self.out_features, self.in_features
        if self.packed.is_cuda:
            weight = torch.empty(n, k, dtype=dtype, device=self.packed.device)
            index = weight.get_device()
            with torch.cuda.device(index):
                _context(index).dequantize(self.packed, self.global_scales, n, k, weight, _DTYPES[dtype],
                                           torch.cuda.current_stream().cuda_stream)
        else:
            packed = Packed(self.packed.numpy(), self.global_scales.numpy(), n, k, (n,))
            blocks = packed.unpack()
            exact = torch.from_numpy(Matrix(blocks.codes, blocks.scales, 1).dequantize())
            weight = (exact * self.global_scales.repeat_interleave(TILE)[:n, None]).to(dtype)
        linear = torch.nn.Linear(k, n, self.bias is not None, device="meta", dtype=dtype)
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        if self.bias is not None:
            linear.bias = torch.nn.Parameter(self.bias.to(dtype), requires_grad=False)
        return linear

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}, dtype={self.dtype}, pdl={self.pdl}")

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> "Linear":
        scales = self.global_scales
        super()._apply(fn, *args, **kwargs)
        if self.global_scales.dtype != torch.float32:
            self.global_scales = scales.to(self.global_scales.device)
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=scales.device)).dtype
        return self


def _linears(model: torch.nn.Module, kind: type) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if type(module) is kind}


def _replace(model: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def replace_linears(model: torch.nn.Module, skip: tuple[str, ...] = ("lm_head",),
                    power_of_two: bool = False, *, pdl: bool = False) -> list[str]:
    """Quantises every torch.nn.Linear of `model` in place, on its device, and returns their names.

    skip          names, whole or their last part, that stay as they are; so does what has a number
                  of inputs that is no multiple of 16
    power_of_two  as in nvfp4.quantize
    """
    names = [name for name, linear in _linears(model, torch.nn.Linear).items()
             if name and name not in skip and name.rpartition(".")[2] not in skip
             and linear.in_features % BLOCK == 0]

    def replace(name: str) -> None:
        linear = model.get_submodule(name)
        _replace(model, name, Linear.from_linear(linear, power_of_two, pdl=pdl, threads=1))

    with ThreadPoolExecutor() as pool:  # the library works outside of Python's lock
        list(pool.map(replace, names))
    return names


def load_checkpoint(model: torch.nn.Module, path: "Path | str", *, device: Any = None,
                    dtype: torch.dtype = torch.bfloat16, pdl: bool = False) -> list[str]:
    """Loads an NVFP4 checkpoint (nvfp4.checkpoint) into a model and moves that to `device` (None: where
    its linears are): matrices become Linear modules, all other tensors replace parameters and buffers
    of their names, floating-point ones as `dtype`. Returns the names of the matrices.

    Parameters may be on the meta device; buffers that state_dict() leaves out may not. Raises BadData
    for a matrix that fits no torch.nn.Linear of that name, and for parameters that the checkpoint
    lacks. Tensors that the model has no use for are ignored.
    """
    checkpoint = Checkpoint(path)
    linears = _linears(model, torch.nn.Linear)
    if device is None:
        device = next((linear.weight.device for linear in linears.values()), None)
    state = {name: _tensor(*checkpoint.tensor(name), device, dtype) for name in checkpoint.others}
    for matrix in checkpoint:
        linear = linears.get(matrix.name)
        if linear is None or linear.weight.shape != (matrix.n, matrix.k):
            what = "none" if linear is None else tuple(linear.weight.shape)
            raise BadData(f"{path}: {matrix.name} is {(matrix.n, matrix.k)}, the model's linear is {what}")
        bias = None if linear.bias is None else state.pop(f"{matrix.name}.bias", None)
        if linear.bias is not None and bias is None:
            raise BadData(f"{path}: {matrix.name}.bias is missing")
        _replace(model, matrix.name, Linear.from_matrix(matrix, bias=bias, dtype=dtype, device=device,
                                                        pdl=pdl))
    own = {name for name in model.state_dict() if name.rpartition(".")[0] not in checkpoint.names}
    missing = own - set(state) - _tied(model, set(state))
    if missing:
        raise BadData(f"{path}: {min(missing)} is missing, and {len(missing) - 1} more")
    model.load_state_dict({name: state[name] for name in own & set(state)}, strict=False, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            raise InvalidArgument(f"{name} is on the meta device, and no checkpoint holds it")
    model.to(device=device)
    return list(checkpoint.names)


def _tied(model: torch.nn.Module, given: set[str]) -> set[str]:
    """Names of parameters that are the same object as one in `given`, or that transformers ties."""
    by_object: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_object.setdefault(id(parameter), set()).add(name)
    tied = {name for names in by_object.values() if names & given for name in names}
    if getattr(getattr(model, "config", None), "tie_word_embeddings", False):
        tied.add("lm_head.weight")
    return tied


def _tensor(kind: str, array: Any, device: Any, dtype: torch.dtype) -> torch.Tensor:
    if not array.flags.aligned or array.ndim == 0:
        array = array.copy()
    if kind.startswith("F8"):
        tensor = torch.tensor(array).view(getattr(torch, {"F8_E4M3": "float8_e4m3fn",
                                                          "F8_E5M2": "float8_e5m2"}[kind]))
    elif kind == "BF16":
        tensor = torch.tensor(array.view("int16")).view(torch.bfloat16)
    else:
        tensor = torch.tensor(array)
    return tensor.to(device=device, dtype=dtype if kind in ("F16", "BF16", "F32", "F64") else None)


def prepare(model: torch.nn.Module, max_tokens: int, min_tokens: int = 1) -> None:
    """Compiles or loads the kernels of every Linear of `model` (which must be on a GPU) for
    min_tokens to max_tokens tokens, so that no launch has to."""
    keys = {_Key(linear.packed.get_device(), linear.out_features, linear.in_features, linear.dtype,
                 linear.pdl, bucket)
            for linear in _linears(model, Linear).values()
            for bucket in range(_bucket(min_tokens), _bucket(max_tokens) + 1)}
    for key in sorted(keys, key=str):
        if key.index < 0:
            raise InvalidArgument(f"{key.n} x {key.k} is on no GPU")
        if key not in _prepared:
            with torch.cuda.device(key.index):
                _prepare(key)
