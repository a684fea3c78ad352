#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Grouped launches of 128 experts on a GPU: right, and how near the read ceiling.

Tokens go to random experts. A graph holds launches with different routings, over more bytes than L2 has;
only the packed bytes of experts that have tokens are counted. The ceiling is a long copy-free read of the
same memory in the same run. Exit codes: 0 ok, 1 wrong, 2 usage, 3 could not run.

    NVFP4_LIBRARY=build/libnvfp4.so timeout 100 tests/grouped_torch.py --json grouped.json
"""
import argparse
import json
import sys
from pathlib import Path
from typing import Any

from torch_gpu import (TILE_BYTES, graph_of, microseconds, need, options_of, packed_bytes, random_packed,
                       read_ceiling, torch)

nvfp4 = need("nvfp4")

EXPERTS = 128
SHAPES = ((1536, 2048), (2048, 7168), (4096, 7168), (7168, 2048))
TOKENS = (1, 8, 32, 128, 512)
ROUTINGS = 16


def offsets_of(counts: list[int]) -> list[int]:
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + count)
    return offsets


def self_check() -> None:
    assert offsets_of([2, 0, 3]) == [0, 2, 2, 5]
    assert packed_bytes(1536, 2048) == 24 * 32 * TILE_BYTES
    print("self-check ok")


class Layer:
    """128 experts of one shape."""

    def __init__(self, context: Any, n: int, k: int):
        self.context, self.n, self.k = context, n, k
        self.weights = random_packed(EXPERTS * packed_bytes(n, k))
        self.scales = torch.full((EXPERTS, -(-n // 64)), 1 / k, device="cuda")

    def routing(self, tokens: int) -> tuple["torch.Tensor", int]:
        """Offsets of `tokens` tokens on random experts, and how many experts have any."""
        counts = torch.bincount(torch.randint(0, EXPERTS, (tokens,)), minlength=EXPERTS).tolist()
        return (torch.tensor(offsets_of(counts), dtype=torch.int32, device="cuda"),
                sum(count > 0 for count in counts))

    def launch(self, gemm: Any, x: "torch.Tensor", out: "torch.Tensor", offsets: "torch.Tensor") -> None:
        gemm.launch(len(x), weights=self.weights, global_scales=self.scales, activations=x, out=out,
                    expert_offsets=offsets, stream=torch.cuda.current_stream().cuda_stream)

    def wrong(self, gemm: Any, tokens: int) -> float:
        """Largest error against the dequantised experts, in units of the largest output."""
        x = torch.randn(tokens, self.k, device="cuda", dtype=torch.bfloat16)
        out = torch.full((tokens, self.n), float("nan"), device="cuda", dtype=torch.bfloat16)
        offsets, _ = self.routing(tokens)
        self.launch(gemm, x, out, offsets)
        size, want = packed_bytes(self.n, self.k), torch.empty_like(out)
        matrix = torch.empty(self.n, self.k, device="cuda", dtype=torch.bfloat16)
        bounds = offsets.tolist()
        for expert, (begin, end) in enumerate(zip(bounds, bounds[1:])):
            if begin == end:
                continue
            self.context.dequantize(self.weights[expert * size:], self.scales[expert], self.n, self.k, matrix,
                                    stream=torch.cuda.current_stream().cuda_stream)
            want[begin:end] = x[begin:end] @ matrix.t()
        difference = (out.float() - want.float()).abs().max() / want.float().abs().max()
        return float("inf") if torch.isnan(difference) else float(difference)

    def time(self, gemm: Any, tokens: int) -> tuple[float, float]:
        """Microseconds of a launch, and bytes of weights that it reads."""
        x = torch.randn(tokens, self.k, device="cuda", dtype=torch.bfloat16)
        out = torch.empty(tokens, self.n, device="cuda", dtype=torch.bfloat16)
        routings = [self.routing(tokens) for _ in range(ROUTINGS)]
        touched = sum(busy for _, busy in routings) / ROUTINGS * packed_bytes(self.n, self.k)
        # Enough launches that the experts of one are gone from L2 when they come again.
        def step() -> None:
            for offsets, _ in routings:
                self.launch(gemm, x, out, offsets)

        return microseconds(graph_of(step)) / ROUTINGS, touched


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = options_of(parser, self_check)
    torch.manual_seed(0)
    context = nvfp4.Context("0")
    ceiling = read_ceiling()
    rows, failed = [], False
    print("| N x K | tokens | us | GB/s of touched experts | of the ceiling | error |\n|---|---|---|---|---|---|")
    for n, k in SHAPES:
        layer = Layer(context, n, k)
        with context.prepare(n, k, m_max=max(TOKENS), pdl=True, experts=EXPERTS) as gemm:
            for tokens in TOKENS:
                error = layer.wrong(gemm, tokens)
                us, touched = layer.time(gemm, tokens)
                failed |= not error < 0.02
                rows.append({"n": n, "k": k, "tokens": tokens, "us": us, "touched_bytes": touched,
                             "gbps": touched / us / 1e3, "of_ceiling": touched / us * 1e6 / ceiling,
                             "error": error})
                print(f"| {n} x {k} | {tokens} | {us:.2f} | {rows[-1]['gbps']:.0f} "
                      f"| {rows[-1]['of_ceiling']:.2f} | {error:.4f} |", flush=True)
            torch.cuda.synchronize()
        del layer
        torch.cuda.empty_cache()
    card = torch.cuda.get_device_name()
    print(f"{card}, {EXPERTS} experts, read ceiling {ceiling / 1e9:.0f} GB/s")
    if options.json:
        options.json.write_text(json.dumps({"schema": 1, "card": card, "experts": EXPERTS, "read_gbps": ceiling / 1e9,
                                            "rows": rows}, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
