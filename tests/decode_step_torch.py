#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One decode step of all linear layers of a model, random packed weights, as one CUDA graph with PDL.

Beside it: the same products by dequantising each weight into a buffer and multiplying (nothing but the
packed weights stays in memory), and by PyTorch on bf16 weights, of as many layers as fit, scaled to all.
Every weight is read once a step, so none is in cache. Exit codes: 0 ok, 2 usage, 3 could not run.

    NVFP4_LIBRARY=build/libnvfp4.so timeout 170 tests/decode_step_torch.py --model llama-3.3-70b
"""
import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

from torch_gpu import (TILE_BYTES, graph_of, microseconds, need, options_of, packed_bytes, random_packed,
                       read_ceiling, torch)

nvfp4 = need("nvfp4")


class Layers(NamedTuple):
    count: int
    linears: tuple[tuple[str, int, int], ...]  # name, N, K of one layer; q, k, v and gate, up stacked


Model = tuple[Layers, ...]

# From their public config.json, as `nvfp4-tune models` lists them.
MODELS: dict[str, Model] = {
    "llama-3.3-70b": (Layers(80, (("qkv", 10240, 8192), ("o", 8192, 8192), ("gate_up", 57344, 8192),
                                  ("down", 8192, 28672))),),
    "llama-3.1-8b": (Layers(32, (("qkv", 6144, 4096), ("o", 4096, 4096), ("gate_up", 28672, 4096),
                                 ("down", 4096, 14336))),),
    "gemma-4-31b": (Layers(50, (("qkv", 16384, 5376), ("o", 5376, 8192), ("gate_up", 43008, 5376),
                                ("down", 5376, 21504))),
                    Layers(10, (("q", 16384, 5376), ("k", 2048, 5376), ("o_full", 5376, 16384),
                                ("gate_up", 43008, 5376), ("down", 5376, 21504)))),
}


def step_bytes(model: Model) -> int:
    return sum(layers.count * packed_bytes(n, k) for layers in model for _, n, k in layers.linears)


def self_check() -> None:
    assert packed_bytes(65, 80) == 4 * TILE_BYTES
    for name, parameters in (("llama-3.3-70b", 68.5e9), ("llama-3.1-8b", 7.0e9), ("gemma-4-31b", 29.3e9)):
        weights = sum(layers.count * n * k for layers in MODELS[name] for _, n, k in layers.linears)
        assert abs(weights / parameters - 1) < 0.01, (name, weights)
        assert step_bytes(MODELS[name]) == weights * TILE_BYTES // 4096
    print("self-check ok")


def bf16_ceiling() -> float:
    """Flops a second of a large bf16 product."""
    a, b, c = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    return 2 * 8192 ** 3 / microseconds(graph_of(lambda: torch.mm(a, b, out=c))) * 1e6


class Step:
    """The packed weights of a model, and its products three ways."""

    def __init__(self, model: Model):
        generator = torch.Generator("cuda").manual_seed(1)
        self.context = nvfp4.Context("0")
        # One entry a layer, in no particular order: all are read once a step.
        self.layers = [layers.linears for layers in model for _ in range(layers.count)]
        self.shapes = sorted({(n, k) for linears in self.layers for _, n, k in linears})
        self.weights = [[random_packed(packed_bytes(n, k), generator) for _, n, k in linears] for linears in self.layers]
        self.scales = {shape: torch.full((-(-shape[0] // 64),), 1 / shape[1], device="cuda") for shape in self.shapes}
        self.bytes = step_bytes(model)

    def buffers(self, m: int) -> dict[tuple[int, int], tuple["torch.Tensor", "torch.Tensor"]]:
        return {(n, k): (torch.randn(m, k, device="cuda", dtype=torch.bfloat16),
                         torch.empty(m, n, device="cuda", dtype=torch.bfloat16)) for n, k in self.shapes}

    def ours(self, m: int) -> float:
        gemms = {shape: self.context.prepare(*shape, m_min=m, m_max=m, pdl=True) for shape in self.shapes}
        size = max(256, *(gemm.workspace_bytes for gemm in gemms.values()))
        workspace = torch.empty(size, device="cuda", dtype=torch.uint8)
        self.context.init_workspace(workspace, size, torch.cuda.current_stream().cuda_stream)
        buffers = self.buffers(m)

        def step() -> None:
            stream = torch.cuda.current_stream().cuda_stream
            for linears, layer in zip(self.layers, self.weights):
                for (_, n, k), weights in zip(linears, layer):
                    x, out = buffers[n, k]
                    gemms[n, k].launch(m, weights=weights, global_scales=self.scales[n, k], activations=x, out=out,
                                       workspace=workspace, workspace_bytes=size, stream=stream)

        return microseconds(graph_of(step))

    def dequantised(self, m: int) -> float:
        scratch = torch.empty(max(n * k for n, k in self.shapes), device="cuda", dtype=torch.bfloat16)
        buffers = self.buffers(m)

        def step() -> None:
            stream = torch.cuda.current_stream().cuda_stream
            for linears, layer in zip(self.layers, self.weights):
                for (_, n, k), weights in zip(linears, layer):
                    x, out = buffers[n, k]
                    matrix = scratch[:n * k].view(n, k)
                    self.context.dequantize(weights, self.scales[n, k], n, k, matrix, stream=stream)
                    torch.mm(x, matrix.t(), out=out)

        return microseconds(graph_of(step))

    def bf16(self, tokens: list[int]) -> tuple[float, list[float]]:
        """The share of the weights that fits, and microseconds of all layers for each number of tokens."""
        self.weights.clear()
        torch.cuda.empty_cache()
        room = torch.cuda.mem_get_info()[0] * 0.8
        total = sum(2 * n * k for linears in self.layers for _, n, k in linears)
        kept, size = [], 0
        for linears in self.layers:
            size += sum(2 * n * k for _, n, k in linears)
            if size > room:
                break
            kept.append([(torch.empty(n, k, device="cuda", dtype=torch.bfloat16).normal_(), (n, k))
                         for _, n, k in linears])
        share = sum(2 * n * k for layer in kept for _, (n, k) in layer) / total
        times = []
        for m in tokens:
            buffers = self.buffers(m)

            def step() -> None:
                for layer in kept:
                    for matrix, shape in layer:
                        x, out = buffers[shape]
                        torch.mm(x, matrix.t(), out=out)

            times.append(microseconds(graph_of(step)) / share)
        return share, times


def driver() -> str:
    """The driver's release, as the kernel module gives it."""
    path = Path("/sys/module/nvidia/version")
    return path.read_text().strip() if path.exists() else "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="llama-3.3-70b")
    parser.add_argument("--M", default="1,16,64", help="tokens of a step")
    parser.add_argument("--json", type=Path)
    options = options_of(parser, self_check)
    tokens = [int(m) for m in options.M.split(",")]
    read, flops = read_ceiling(), bf16_ceiling()
    step = Step(MODELS[options.model])
    weights = sum(n * k for linears in step.layers for _, n, k in linears)
    rows = []
    for m in tokens:
        choices = {f"{n},{k}": step.context.lookup(n, k, m, pdl=True) for n, k in step.shapes}
        us = step.ours(m)
        rows.append({"m": m, "us": us, "us_dequantise": step.dequantised(m), "gbps": step.bytes / us / 1e3,
                     "f": max(step.bytes / read, 2 * m * weights / flops) * 1e6 / us,
                     "configs": {shape: choice.config for shape, choice in choices.items()},
                     "measured": {shape: choice.measured for shape, choice in choices.items()}})
        print(f"M = {m}: {us:.0f} us", file=sys.stderr, flush=True)
    share, times = step.bf16(tokens)
    for row, us in zip(rows, times):
        row["us_bf16"] = us
    document = {"schema": 1, "model": options.model, "card": torch.cuda.get_device_name(), "driver": driver(),
                "date": time.strftime("%FT%TZ", time.gmtime()), "packed_bytes": step.bytes,
                "layers": len(step.layers), "read_gbps": read / 1e9, "bf16_tflops": flops / 1e12, "bf16_share": share,
                "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    print("| M | us | GB/s | F | dequantise, then bf16, us | bf16, us |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['m']} | {row['us']:.0f} | {row['gbps']:.0f} | {row['f']:.2f} | {row['us_dequantise']:.0f} "
              f"| {row['us_bf16']:.0f} |")
    print(f"{document['card']}, {options.model}, {step.bytes / 1e9:.1f} GB packed; F against {read / 1e9:.0f} GB/s and "
          f"{flops / 1e12:.0f} TFLOP/s of this run; bf16 measured on {share:.0%} of the weights and scaled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
