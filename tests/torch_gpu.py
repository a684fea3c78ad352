# SPDX-License-Identifier: Apache-2.0
"""PyTorch on this machine's GPU, for the scripts beside this file: what they need, whether it is there,
and what those that time packed weights share."""
import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

missing = ""  # why this machine cannot run them; after that, modules are None

TILE_BYTES, CODE_BYTES = 2304, 2048  # of 64 x 64 packed weights; of the codes among them
REPLAYS, ROUNDS = 5, 7


def need(module: str) -> Any:
    """The top package of `module`, imported; None where this one or an earlier one is missing."""
    global missing
    if missing:
        return None
    try:
        return __import__(module)
    except ImportError as error:
        missing = str(error)
        return None


torch = need("torch")
if torch and not torch.cuda.is_available():
    missing = "torch finds no CUDA device"


def options_of(parser: argparse.ArgumentParser, self_check: Callable[[], None]) -> argparse.Namespace:
    """The options, where the script can run. Where it cannot the process ends with 3; with --self-check it
    ends after that."""
    parser.add_argument("--self-check", action="store_true", help="the part that needs no torch")
    options = parser.parse_args()
    if options.self_check:
        self_check()
        sys.exit(0)
    if missing:
        print(f"{Path(parser.prog).stem}: nothing was run: {missing}", file=sys.stderr)
        sys.exit(3)
    return options


def packed_bytes(n: int, k: int) -> int:
    return -(-n // 64) * -(-k // 64) * TILE_BYTES


def random_packed(nbytes: int, generator: "torch.Generator | None" = None) -> "torch.Tensor":
    """Packed weights of random codes with block scales around 1: garbage costs other power."""
    tiles = nbytes // TILE_BYTES
    packed = torch.randint(0, 256, (tiles, TILE_BYTES), dtype=torch.uint8, device="cuda", generator=generator)
    packed[:, CODE_BYTES:] = torch.randint(172, 180, (tiles, TILE_BYTES - CODE_BYTES), dtype=torch.uint8,
                                           device="cuda", generator=generator)
    return packed.view(-1)


def graph_of(step: Callable[[], Any]) -> "torch.cuda.CUDAGraph":
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
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


def read_ceiling() -> float:
    """Bytes a second of a long read: a sum of 4 GB, which is bound by memory."""
    data = torch.ones(1 << 30, device="cuda", dtype=torch.float32)
    total = torch.empty((), device="cuda", dtype=torch.float32)
    return data.numel() * 4 / microseconds(graph_of(lambda: torch.sum(data, dim=0, out=total))) * 1e6
