#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nvfp4.torch on a GPU, with PyTorch 2.4 or newer: numbers, torch.compile, CUDA graphs, streams, state.

Prints a line for each check. Exit codes: 0 all passed, 1 one failed, 3 could not run.

    NVFP4_LIBRARY=build/libnvfp4.so tests/python_torch.py
"""
import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from python_torch_operands import CHECKS, check, exact_linear, linear_of, nvfp4, refused, tokens_of
from torch_gpu import options_of, torch

# N x K; odd sizes, and sizes whose kernels split K and so need a workspace.
SHAPES = ((4096, 4096), (100, 80), (64, 16), (1024, 8192), (513, 2064))
TOKENS = (1, 3, 16, 64, 300)


def bound(exact: Any, magnitude: Any, mantissa_bits: int) -> Any:
    """Of the error of a sum of products whose magnitudes sum to `magnitude`, all numbers or tensors: one
    rounding to the output's type, and float32 accumulation, which tensor cores do with few guard
    bits. A wrong fragment misses by about magnitude / sqrt(K)."""
    return abs(exact) * 2.0 ** -(mantissa_bits + 1) + magnitude * 2.0**-17 + 2.0**-24


def self_check() -> None:
    """What can be checked without torch."""
    assert bound(1.0, 0.0, 7) < 2**-8 + 2**-23  # half a unit in the last place of bf16
    assert bound(0.0, 1.0, 10) < 8e-6
    assert len({function.__name__ for function in CHECKS}) == len(CHECKS) >= 12
    assert all(function.__doc__ for function in CHECKS)
    root = Path(__file__).resolve().parents[1]
    for path in (*root.glob("python/nvfp4/*.py"), *root.glob("examples/*.py")):
        compile(path.read_text(), str(path), "exec")
    print("self-check ok")


@check
def products() -> str:
    """outputs are within the bound of one rounding of the dequantised product"""
    worst = 0.0
    for dtype, mantissa in ((torch.bfloat16, 7), (torch.float16, 10)):
        for n, k in SHAPES:
            for bias in (False, True):
                linear = linear_of(n, k, bias, dtype)
                weight = linear.dequantized_linear(torch.float32).weight.double()
                for m in TOKENS:
                    x = tokens_of(m, k, dtype)
                    want = x.double() @ weight.t()
                    if bias:
                        want += linear.bias.double()
                    magnitude = x.double().abs() @ weight.abs().t()
                    error = (linear(x).double() - want).abs()
                    ratio = (error / bound(want, magnitude, mantissa)).max().item()
                    assert ratio <= 1, f"{n} x {k}, M = {m}, {dtype}: {ratio:.3g} of the bound"
                    worst = max(worst, ratio)
    return f"worst is {worst:.2f} of the bound"


@check
def dequantised() -> str:
    """dequantised weights on the GPU are those of the CPU, and exact in bf16"""
    for n, k in SHAPES:
        linear = linear_of(n, k)
        on_gpu = linear.dequantized_linear(torch.float32).weight
        on_cpu = copy.deepcopy(linear).cpu().dequantized_linear(torch.float32).weight
        assert torch.equal(on_gpu.cpu(), on_cpu)
        assert torch.equal(on_gpu, linear.dequantized_linear().weight.float())
    return ""


@check
def shapes_and_strides() -> str:
    """leading dimensions, slices of columns, odd strides and no tokens work"""
    linear = linear_of(100, 80)
    x = tokens_of(24, 80)
    want = linear(x)
    assert torch.equal(linear(x.view(2, 3, 4, 80)).view(24, 100), want)
    assert linear(x[:0]).shape == (0, 100)
    wide = torch.cat((x, x), 1)
    assert torch.equal(linear(wide[:, 80:]), want)
    odd = torch.cat((x, x[:, :3]), 1)
    assert torch.equal(linear(odd[:, :80]), want)
    shifted = torch.cat((x[:, :1], x), 1).flatten()[1:1 + 80].view(1, 80)
    assert torch.equal(linear(shifted), linear(shifted.clone()))
    assert torch.equal(linear(x[0]), linear(x[:1])[0])
    return ""


@check
def opcheck() -> str:
    """torch.library.opcheck accepts the operator"""
    linear = linear_of(100, 80, True)
    x = tokens_of(5, 80)
    for bias, pdl in ((linear.bias, False), (None, True)):
        torch.library.opcheck(torch.ops.nvfp4.gemm.default,
                              (x, linear.packed, linear.global_scales, bias, 100, pdl))
    return ""


@check
def compiled() -> str:
    """torch.compile(fullgraph=True) gives the same bits, with dynamic shapes too"""
    block = torch.nn.Sequential(linear_of(256, 128, True), torch.nn.SiLU(), linear_of(64, 256))
    faster = torch.compile(block, fullgraph=True)
    with torch.no_grad():
        for m in (1, 8, 12):
            x = tokens_of(m, 128)
            assert torch.allclose(faster(x), block(x), rtol=2e-2, atol=2e-2)
    only = torch.compile(linear_of(256, 128), fullgraph=True)
    with torch.no_grad():
        x = tokens_of(8, 128)
        assert torch.equal(only(x), linear_of(256, 128)(x))
    return ""


@check
def gradients() -> str:
    """activations that need a gradient are refused, in graphs of autograd and under compile"""
    linear = linear_of(64, 64)
    x = tokens_of(2, 64).requires_grad_()
    refused(RuntimeError, "no gradient", lambda: linear(x))
    refused(Exception, "no gradient", lambda: torch.compile(linear, fullgraph=True)(x))
    with torch.no_grad():
        linear(x)
    with torch.inference_mode():
        linear(x)
    return ""


@check
def state() -> str:
    """state_dict, deepcopy and casts keep the weights; a stack is its parts side by side"""
    linear, more = exact_linear(128, 80, True, 0), exact_linear(72, 80, True, 1)
    x = torch.randint(-3, 4, (3, 80), device="cuda").bfloat16()
    want = linear(x)
    other = nvfp4.torch.Linear(80, 128, True, device="cuda")
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other(x), want)
    assert torch.equal(copy.deepcopy(linear)(x), want)
    scales = linear.global_scales.clone()
    half = copy.deepcopy(linear).half()
    assert torch.equal(half.global_scales, scales) and half.dtype == half.bias.dtype == torch.float16
    assert half(x.half()).dtype == torch.float16
    assert torch.equal(linear.cpu().cuda()(x), want)
    assert torch.equal(nvfp4.torch.Linear.stack(linear, more)(x), torch.cat((want, more(x)), 1))
    return ""


@check
def operands() -> str:
    """operands that do not fit are refused in words"""
    linear = linear_of(64, 64, True)
    refused(TypeError, "float32", lambda: linear(torch.randn(2, 64, device="cuda")))
    refused(ValueError, "shape", lambda: linear(tokens_of(2, 80)))
    refused(ValueError, "bias", lambda: linear(tokens_of(2, 64, torch.float16)))
    refused(ValueError, "CPU", lambda: linear(tokens_of(2, 64).cpu()))
    half = linear_of(64, 64).cpu()
    refused(ValueError, "elsewhere", lambda: half(tokens_of(2, 64)))
    return ""


@check
def checkpoint() -> str:
    """a checkpoint loads into a model on the meta device; replace_linears leaves out what it should"""
    from nvfp4.torch import Linear, load_checkpoint, replace_linears

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.lm_head = torch.nn.Linear(64, 96, bias=True), torch.nn.Linear(96, 40, False)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return self.lm_head(self.up(x))

    torch.manual_seed(3)
    model = Model().to(device="cuda", dtype=torch.bfloat16)
    matrix = nvfp4.quantize(model.up.weight)
    tensors = {"up.weight": ("U8", matrix.codes), "up.weight_scale": ("F8_E4M3", matrix.scales),
               "up.bias": ("BF16", model.up.bias.detach().cpu().view(torch.int16).numpy()),
               "lm_head.weight": ("BF16", model.lm_head.weight.detach().cpu().view(torch.int16).numpy())}
    header, data = {}, b""
    scale = torch.tensor(matrix.global_scale).numpy()
    for name, (dtype, array) in (tensors | {"up.weight_scale_2": ("F32", scale)}).items():
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        with torch.device("meta"):
            loaded = Model()
        assert load_checkpoint(loaded, path, device="cuda") == ["up"]
    assert replace_linears(model) == ["up"] and type(model.lm_head) is torch.nn.Linear
    assert type(model.up) is Linear
    x = tokens_of(2, 64)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    return ""


@check
def overhead() -> str:
    """what a call costs on the CPU (a figure, not a check)"""
    linear, plain = linear_of(64, 64), torch.nn.Linear(64, 64, device="cuda", dtype=torch.bfloat16)
    x = tokens_of(1, 64)
    figures = []
    with torch.inference_mode():
        for module in (linear, plain):
            times = []
            for _ in range(30):
                torch.cuda.synchronize()
                start = time.perf_counter()
                for _ in range(100):
                    module(x)
                times.append((time.perf_counter() - start) / 100 * 1e6)
            figures.append(statistics.median(times))
    return f"{figures[0]:.1f} us, of torch.nn.Linear {figures[1]:.1f} us"


import python_torch_graphs  # noqa: E402, F401, its checks join the list behind those of this file


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", metavar="WORD", default="", help="checks with this in their names")
    options = options_of(parser, self_check)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, libnvfp4 {nvfp4.version()}")
    failed = 0
    for function in CHECKS:
        if options.only not in function.__name__:
            continue
        start = time.monotonic()
        try:
            note, verdict = function(), "ok"
        except Exception as error:
            verdict, note = "FAILED", str(error).splitlines()[0] if str(error) else repr(error)
            traceback.print_exc()
            failed += 1
        seconds = time.monotonic() - start
        print(f"{verdict:6} {seconds:5.1f} s  {function.__name__}: {function.__doc__}"
              + (f" ({note})" if note else ""), flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed" if not options.only else f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
