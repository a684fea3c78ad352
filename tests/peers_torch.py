#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times other kernels on the shapes of `nvfp4-tune bench`, on weights as cold as ours.

Peers: PyTorch's int4 weight-only kernel (tinygemm, groups of 128), a plain Triton W4A16 kernel for
NVFP4, and PyTorch's bf16 matmul. Each is checked against a float32 reference before it is timed: a
round-robin pool of distinct weight buffers is walked inside one CUDA graph, and the median of its
replays is reported. Exit codes: 0 ok, 1 a peer gave wrong results, 2 usage, 3 could not run.

    nvfp4-tune bench --suite decode --save ours.json
    tests/peers_torch.py --ours ours.json --json peers.json
"""
import argparse
import datetime
import itertools
import json
import math
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch_gpu import need, options_of, torch

triton = need("triton")
peers_triton = need("peers_triton")

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
BLOCK = 16  # weights that share an E4M3 scale
GROUP = 128  # weights that share a scale and a zero in tinygemm
PEERS = ("tinygemm_int4", "triton_w4a16", "torch_bf16")
GRAPH_SECONDS = 3e-3  # a replay lasts this long, so that the pause before the next weighs nothing
REPLAYS = 25
COARSE_REPLAYS = 5


class Cell(NamedTuple):
    n: int
    k: int
    m: int


class Config(NamedTuple):
    block_n: int
    block_m: int
    block_k: int
    split_k: int
    warps: int
    stages: int

    def ctas(self, cell: Cell) -> int:
        return -(-cell.n // self.block_n) * -(-cell.m // self.block_m) * self.split_k


def e4m3(byte: int) -> float:
    """Of a positive byte that is no NaN."""
    exponent, mantissa = byte >> 3, byte & 7
    return 2.0 ** (exponent - 7) * (1 + mantissa / 8) if exponent else mantissa * 2.0**-9


def self_check() -> None:
    """What can be checked without torch: the number formats and their bit tricks."""
    assert [e4m3(b) for b in (0, 1, 7, 8, 0x38, 0x7E)] == [0, 2**-9, 7 * 2**-9, 2**-6, 1, 448]
    for code, value in enumerate(E2M1):  # an fp16 number times 2^14, as peers_triton decodes it
        half = struct.pack("<H", (code & 7) << 9 | (code & 8) << 12)
        assert struct.unpack("<e", half)[0] * 2**14 == value
    for byte in range(0x7F):  # an fp32 number times 2^120
        assert struct.unpack("<f", struct.pack("<I", byte << 20))[0] * 2.0**120 == e4m3(byte)
    # Every product is exact in bf16, which the kernel rounds to: 8 significant bits.
    for value, byte in itertools.product(E2M1, range(0x7F)):
        bits = struct.unpack("<I", struct.pack("<f", value * e4m3(byte)))[0]
        assert bits & 0xFFFF == 0
    assert parse_tokens("1,8,16") == [1, 8, 16] and parse_shape("64,128") == (64, 128)
    assert pool_copies(9 << 20, 50 << 20) == 30 and pool_copies(500 << 20, 50 << 20) == 2
    for m in (1, 8, 64, 482, 4096):
        assert configs(Cell(4096, 3840, m))
    sample = {"rows": [{"n": 64, "k": 128, "m": 1, "act": "bf16", "us": 2.0, "us_no_pdl": 4.0}]}
    assert ours_by_cell(sample)[Cell(64, 128, 1)]["us_no_pdl"] == 4.0
    row = {"n": 64, "k": 128, "m": 1, "us_triton_w4a16": 8.0}
    assert "4.00" in table([row], ours_by_cell(sample))
    print("self-check ok")


def parse_shape(text: str) -> tuple[int, int]:
    n, k = (int(part) for part in text.split(","))
    if k % GROUP:
        raise argparse.ArgumentTypeError(f"K = {k} is not a multiple of {GROUP}")
    return n, k


def parse_tokens(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def pool_copies(weight_bytes: int, l2_bytes: int) -> int:
    return -(-max(4 * l2_bytes, 256 << 20) // weight_bytes) + 1


def configs(cell: Cell) -> list[Config]:
    """A short list: those first that give the 132 SMs of an H100 about two blocks each."""
    block_m = min(128, max(16, 1 << (cell.m - 1).bit_length()))
    splits = (1, 2, 4, 8) if cell.m <= 64 else (1, 2) if cell.m <= 512 else (1,)
    legal = (Config(block_n, block_m, block_k, split, warps, stages)
             for block_n, (block_k, stages), split, warps in itertools.product(
                 (64, 128), ((128, 4), (64, 5), (128, 3)), splits, (4, 8))
             if cell.k % block_k == 0 and cell.k // block_k >= split)
    return sorted(legal, key=lambda c: abs(math.log(c.ctas(cell) / 264)))


def time_cold(launch: Callable[[int], Any], copies: int, replays: int) -> float:
    """Median microseconds of one launch(i), i going round the copies of the weights."""

    def graph_of(launches: int) -> "torch.cuda.CUDAGraph":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(launches):
                launch(i % copies)
        return graph

    def replay(graph: "torch.cuda.CUDAGraph", count: int) -> list[float]:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        graph.replay()
        for event in events[:-1]:
            event.record()
            graph.replay()
        events[-1].record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) * 1e-3 for a, b in itertools.pairwise(events)]

    launch(0)
    torch.cuda.synchronize()
    seconds = replay(graph_of(copies), 1)[0]
    passes = min(64, max(1, round(GRAPH_SECONDS / seconds)))
    return statistics.median(replay(graph_of(copies * passes), replays)) / (copies * passes) * 1e6


def check(name: str, got: "torch.Tensor", want: "torch.Tensor") -> None:
    """A wrong fragment misses by about the spread of the results, roundings by 1 % of it."""
    error = (got.float() - want).abs()
    bound = want.std(correction=0) * 0.05 + want.abs() * 2**-7
    if not bool((error <= bound).all()):
        raise ArithmeticError(f"{name} is wrong by up to {error.max().item():.4g}")


def copies_of(*tensors: "torch.Tensor") -> list[tuple["torch.Tensor", ...]]:
    size = sum(t.numel() * t.element_size() for t in tensors)
    count = pool_copies(size, torch.cuda.get_device_properties(0).L2_cache_size)
    return [tuple(t.clone() for t in tensors) for _ in range(count)]


def run_bf16(cell: Cell, x: "torch.Tensor", _: float) -> dict[str, Any]:
    weights = torch.randn(cell.n, cell.k, device="cuda", dtype=torch.bfloat16)
    check("torch_bf16", x @ weights.t(), x.float() @ weights.float().t())
    pool = copies_of(weights)
    return {"us": time_cold(lambda i: x @ pool[i][0].t(), len(pool), REPLAYS)}


def run_tinygemm(cell: Cell, x: "torch.Tensor", _: float) -> dict[str, Any]:
    n, k, groups = cell.n, cell.k, cell.k // GROUP
    q = torch.randint(0, 16, (n, k), device="cuda", dtype=torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack((q[:, ::2] << 4 | q[:, 1::2]).byte(), 8)
    scale_zero = torch.rand(groups, n, 2, device="cuda", dtype=torch.bfloat16) + 0.5
    scale, zero = (scale_zero[:, :, i].t().float().repeat_interleave(GROUP, 1) for i in (0, 1))
    multiply = torch.ops.aten._weight_int4pack_mm
    want = x.float() @ ((q - 8) * scale + zero).t()
    check("tinygemm_int4", multiply(x, packed, GROUP, scale_zero), want)
    del q, scale, zero, want
    pool = copies_of(packed, scale_zero)
    us = time_cold(lambda i: multiply(x, pool[i][0], GROUP, pool[i][1]), len(pool), REPLAYS)
    return {"us": us}


def run_triton(cell: Cell, x: "torch.Tensor", seconds: float) -> dict[str, Any]:
    m, n, k, g = cell.m, cell.n, cell.k, 0.75
    codes = torch.randint(0, 256, (n, k // 2), device="cuda", dtype=torch.uint8)
    scales = torch.randint(0x28, 0x48, (n, k // BLOCK), device="cuda", dtype=torch.uint8)
    lut = torch.tensor(E2M1, device="cuda")
    values = torch.stack((lut[(codes & 15).long()], lut[(codes >> 4).long()]), 2).view(n, k)
    factors = torch.tensor([e4m3(b) for b in range(0x7F)], device="cuda")[scales.long()]
    want = x.float() @ (values * factors.repeat_interleave(BLOCK, 1)).t() * g
    del values, factors
    pool = copies_of(codes, scales)
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    parts = torch.empty(max(c.split_k for c in configs(cell)) * m * n, device="cuda")

    def launch(config: Config, i: int) -> None:
        peers_triton.launch(config, x, *pool[i], g, parts, out)

    timed: list[tuple[float, Config]] = []
    troubles: list[Exception] = []
    deadline = time.monotonic() + seconds
    for config in configs(cell):
        if timed and time.monotonic() > deadline:
            break
        out.fill_(float("nan"))
        try:
            launch(config, 0)
            check(f"triton_w4a16 {config}", out, want)
            us = time_cold(lambda i, c=config: launch(c, i), len(pool), COARSE_REPLAYS)
            timed.append((us, config))
        except Exception as error:  # too much shared memory, a compiler's bug: one config less
            troubles.append(error)
    if not timed:
        raise troubles[0]
    best = min(timed)[1]
    return {"us": time_cold(lambda i: launch(best, i), len(pool), REPLAYS),
            "config": best._asdict(), "tried": len(timed), "failed": len(troubles)}


RUNNERS = dict(zip(PEERS, (run_tinygemm, run_triton, run_bf16), strict=True))


def run_cell(cell: Cell, seconds: float) -> dict[str, Any]:
    torch.manual_seed(1)
    row: dict[str, Any] = cell._asdict()
    x = torch.randn(cell.m, cell.k, device="cuda", dtype=torch.bfloat16)
    for peer, run in RUNNERS.items():
        try:
            result = run(cell, x, seconds)
            row[f"us_{peer}"] = result.pop("us")
            row |= {f"{peer}_{key}": value for key, value in result.items()}
        except Exception as error:  # one peer's trouble must not cost the others' times
            row[f"us_{peer}"] = None
            row[f"{peer}_wrong"] = isinstance(error, ArithmeticError)
            row[f"{peer}_note"] = str(error).splitlines()[0] if str(error) else repr(error)
            print(f"peers_torch: {peer} at {cell}: {row[f'{peer}_note']}", file=sys.stderr)
        torch.cuda.empty_cache()
    return row


def ours_by_cell(document: dict[str, Any]) -> dict[Cell, dict[str, Any]]:
    return {Cell(r["n"], r["k"], r["m"]): r for r in document["rows"] if r["act"] == "bf16"}


def table(rows: list[dict[str, Any]], ours: dict[Cell, dict[str, Any]]) -> str:
    """Microseconds, and each peer's time over ours with dependent launches."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    lines = [["N", "K", "M", "ours", "no PDL", *itertools.chain(*((p, "ratio") for p in PEERS))]]
    for row in rows:
        own = ours.get(Cell(row["n"], row["k"], row["m"]), {})
        line = [str(row[key]) for key in "nkm"]
        line += [shown(own.get("us")), shown(own.get("us_no_pdl"))]
        for peer in PEERS:
            us, base = row.get(f"us_{peer}"), own.get("us")
            line += [shown(us), shown(us / base if us and base else None)]
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True))
                     for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--shape", type=parse_shape, action="append", metavar="N,K")
    parser.add_argument("--M", type=parse_tokens, metavar="LIST", help="default: 1,8,16,32,64")
    parser.add_argument("--ours", type=Path, metavar="FILE", help="of nvfp4-tune bench --save")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the times, cell by cell")
    parser.add_argument("--seconds", type=float, default=10, help="of Triton tuning for each cell")
    options = options_of(parser, self_check)
    document = json.loads(options.ours.read_text()) if options.ours else {"rows": []}
    ours = ours_by_cell(document)
    shapes = options.shape or list(dict.fromkeys((c.n, c.k) for c in ours)) or [(4096, 4096)]
    tokens = options.M or sorted({c.m for c in ours}) or [1, 8, 16, 32, 64]
    card = torch.cuda.get_device_name()
    if document.get("card", card) != card:
        print(f"peers_torch: ours are of a {document['card']}, this is a {card}", file=sys.stderr)
    result: dict[str, Any] = {
        "schema": 1, "card": card, "torch": torch.__version__, "triton": triton.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "rows": []}
    try:
        for (n, k), m in itertools.product(shapes, tokens):
            result["rows"].append(run_cell(Cell(n, k, m), options.seconds))
            print(table(result["rows"][-1:], ours).splitlines()[-1], file=sys.stderr)
            if options.json:
                options.json.write_text(json.dumps(result, indent=2) + "\n")
    except KeyboardInterrupt:
        print("peers_torch: interrupted", file=sys.stderr)
    print(table(result["rows"], ours))
    return int(any(row.get(f"{p}_wrong") for row in result["rows"] for p in PEERS))


if __name__ == "__main__":
    sys.exit(main())
