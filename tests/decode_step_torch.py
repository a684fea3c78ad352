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
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

try:
    import torch
    missing = "" if torch.cuda.is_available() else "torch finds no CUDA device"
    if not missing:
        import nvfp4
except ImportError as error:
    torch = None
    missing = str(error)


class Model(NamedTuple):
    layers: int
    linears: tuple[tuple[str, int, int], ...]  # name, N, K of one layer; q, k, v and gate, up stacked


# From their public config.json.
MODELS = {
    "llama-3.3-70b": Model(80, (("qkv", 10240, 8192), ("o", 8192, 8192), ("gate_up", 57344, 8192),
                                ("down", 8192, 28672))),
    "llama-3.1-8b": Model(32, (("qkv", 6144, 4096), ("o", 4096, 4096), ("gate_up", 28672, 4096),
                               ("down", 4096, 14336))),
    "gemma-3-27b": Model(62, (("qkv", 8192, 5376), ("o", 5376, 4096), ("gate_up", 43008, 5376),
                              ("down", 5376, 21504))),
}
TILE_BYTES, CODE_BYTES = 2304, 2048  # of 64 x 64 weights
REPLAYS, ROUNDS = 5, 7


def packed_bytes(n: int, k: int) -> int:
    return -(-n // 64) * -(-k // 64) * TILE_BYTES


def self_check() -> None:
    assert packed_bytes(65, 80) == 4 * TILE_BYTES
    total = sum(packed_bytes(n, k) for _, n, k in MODELS["llama-3.3-70b"].linears) * 80
    assert 38e9 < total < 40e9, total
    print("self-check ok")


def random_weights(n: int, k: int, generator: "torch.Generator") -> "torch.Tensor":
    """Packed bytes of random codes with block scales around 1: garbage costs other power."""
    tiles = packed_bytes(n, k) // TILE_BYTES
    packed = torch.randint(0, 256, (tiles, TILE_BYTES), dtype=torch.uint8, device="cuda", generator=generator)
    packed[:, CODE_BYTES:] = torch.randint(172, 180, (tiles, TILE_BYTES - CODE_BYTES), dtype=torch.uint8,
                                           device="cuda", generator=generator)
    return packed.view(-1)


def graph_of(step: Any) -> "torch.cuda.CUDAGraph":
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def microseconds(graph: "torch.cuda.CUDAGraph") -> float:
    """Median over rounds of the mean time of a replay."""
    samples = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        samples.append(start.elapsed_time(end) * 1e3 / REPLAYS)
    return statistics.median(samples)


class Step:
    """The packed weights of a model, and its products three ways."""

    def __init__(self, model: Model):
        generator = torch.Generator("cuda").manual_seed(1)
        self.model = model
        self.context = nvfp4.Context("0")
        self.weights = [[random_weights(n, k, generator) for _, n, k in model.linears]
                        for _ in range(model.layers)]
        self.scales = [torch.full((-(-n // 64),), 1 / k, device="cuda") for _, n, k in model.linears]
        self.bytes = sum(packed_bytes(n, k) for _, n, k in model.linears) * model.layers

    def buffers(self, m: int) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
        return [(torch.randn(m, k, device="cuda", dtype=torch.bfloat16),
                 torch.empty(m, n, device="cuda", dtype=torch.bfloat16)) for _, n, k in self.model.linears]

    def ours(self, m: int) -> float:
        gemms = [self.context.prepare(n, k, m_min=m, m_max=m, pdl=True) for _, n, k in self.model.linears]
        size = max(max(gemm.workspace_bytes for gemm in gemms), 256)
        workspace = torch.empty(size, device="cuda", dtype=torch.uint8)
        self.context.init_workspace(workspace, size, torch.cuda.current_stream().cuda_stream)
        buffers = self.buffers(m)

        def step() -> None:
            stream = torch.cuda.current_stream().cuda_stream
            for layer in self.weights:
                for gemm, weights, scales, (x, out) in zip(gemms, layer, self.scales, buffers):
                    gemm.launch(m, weights=weights, global_scales=scales, activations=x, out=out,
                                workspace=workspace, workspace_bytes=size, stream=stream)

        return microseconds(graph_of(step))

    def dequantised(self, m: int) -> float:
        largest = max(n * k for _, n, k in self.model.linears)
        scratch = torch.empty(largest, device="cuda", dtype=torch.bfloat16)
        buffers = self.buffers(m)

        def step() -> None:
            stream = torch.cuda.current_stream().cuda_stream
            for layer in self.weights:
                for (_, n, k), weights, scales, (x, out) in zip(self.model.linears, layer, self.scales, buffers):
                    matrix = scratch[:n * k].view(n, k)
                    self.context.dequantize(weights, scales, n, k, matrix, stream=stream)
                    torch.mm(x, matrix.t(), out=out)

        return microseconds(graph_of(step))

    def bf16(self, tokens: list[int]) -> tuple[int, list[float]]:
        """Layers measured, and microseconds of all layers for each number of tokens."""
        self.weights.clear()
        torch.cuda.empty_cache()
        layer_bytes = sum(2 * n * k for _, n, k in self.model.linears)
        layers = min(self.model.layers, int(torch.cuda.mem_get_info()[0] * 0.8 / layer_bytes))
        weights = [[torch.empty(n, k, device="cuda", dtype=torch.bfloat16).normal_() for _, n, k in
                    self.model.linears] for _ in range(layers)]
        times = []
        for m in tokens:
            buffers = self.buffers(m)

            def step() -> None:
                for layer in weights:
                    for matrix, (x, out) in zip(layer, buffers):
                        torch.mm(x, matrix.t(), out=out)

            times.append(microseconds(graph_of(step)) * self.model.layers / layers)
        return layers, times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="llama-3.3-70b")
    parser.add_argument("--M", default="1,16,64", help="tokens of a step")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--self-check", action="store_true")
    options = parser.parse_args()
    if options.self_check:
        self_check()
        return 0
    if missing:
        print(f"decode_step_torch: {missing}", file=sys.stderr)
        return 3
    tokens = [int(m) for m in options.M.split(",")]
    step = Step(MODELS[options.model])
    rows = []
    for m in tokens:
        choices = {name: step.context.lookup(n, k, m, pdl=True) for name, n, k in step.model.linears}
        rows.append({"m": m, "us": step.ours(m), "us_dequantise": step.dequantised(m),
                     "configs": {name: choice.config for name, choice in choices.items()},
                     "measured": {name: choice.measured for name, choice in choices.items()}})
        rows[-1]["gbps"] = step.bytes / rows[-1]["us"] / 1e3
        print(f"M = {m}: {rows[-1]['us']:.0f} us", file=sys.stderr, flush=True)
    layers, times = step.bf16(tokens)
    for row, us in zip(rows, times):
        row["us_bf16"] = us
    document = {"schema": 1, "model": options.model, "card": torch.cuda.get_device_name(),
                "packed_bytes": step.bytes, "layers": step.model.layers, "bf16_layers": layers, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    print("| M | us | GB/s | dequantise, then bf16, us | bf16, us |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['m']} | {row['us']:.0f} | {row['gbps']:.0f} | {row['us_dequantise']:.0f} "
              f"| {row['us_bf16']:.0f} |")
    print(f"{document['card']}, {options.model}, {step.bytes / 1e9:.1f} GB packed, bf16 measured on {layers} of "
          f"{step.model.layers} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
