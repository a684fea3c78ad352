#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What limits the kernels that miss their goal: Nsight Compute's counters of one cold launch of each.

Of the cells that `nvfp4-tune bench --save` timed, those whose F lies below the goal for their M run once more,
alone, with caches flushed and clocks as they are, under `ncu`. A row for each: microseconds and F of the bench,
then, of the profiled launch, its microseconds, how busy memory was, and, while an SM had work, instruction issue,
the pipe of integer logic, that of multiplications and the tensor cores, in percent of what they can, the CTAs of its
grid, and the two things that warps spent most of their time on, in percent of it ("selected" is issuing). A single
launch under a profiler fills an empty GPU: it is slower than one of a chain.
Exit codes: 0 ok, 1 ncu failed, 2 usage, 3 could not run.

    NVFP4_LIBRARY=build/libnvfp4.so timeout 300 tests/limits_torch.py --bench h100.json --csv limits.csv
"""
import argparse
import concurrent.futures
import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from torch_gpu import need, options_of, packed_bytes, random_packed, torch

nvfp4 = need("nvfp4")

Cell = dict[str, Any]  # n, k, m, act, us, f

SECTIONS = ("SpeedOfLight", "ComputeWorkloadAnalysis", "WarpStateStats", "LaunchStats")
TIME = "gpu__time_duration.sum"
BUSY = {  # column of the table: ncu's, and what makes it percent
    "dram_pct": ("gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "issue_pct": ("smsp__issue_active.avg.per_cycle_active", 100),
    "alu_pct": ("sm__pipe_alu_cycles_active.avg.pct_of_peak_sustained_active", 1),
    "fma_pct": ("sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active", 1),
    "tensor_pct": ("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active", 1),
}
CTAS = "launch__grid_size"
STALL = r"smsp__average_warps_issue_stalled_(?P<why>\w+?)_per_issue_active\.ratio"
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3}


def goal(m: int, nbytes: int, h200: bool) -> float:
    """The F that this project wants at m tokens of weights of `nbytes`; 0: none was set."""
    if h200:
        return {1: 0.88, 8: 0.88, 16: 0.80}.get(m, 0) if nbytes >= 33e6 else 0
    if m <= 16:
        return 0.95 if nbytes >= 33e6 else 0.90
    large, small = {32: (0.85, 0.85), 64: (0.78, 0.60), 128: (0.82, 0.50), 256: (0.90, 0.65)}.get(m, (0.90, 0.90))
    return large if nbytes >= 20e6 else small


def missed(document: dict[str, Any]) -> list[Cell]:
    h200 = "H200" in document["card"]
    return [row for row in document["rows"] if row["f"] < goal(row["m"], packed_bytes(row["n"], row["k"]), h200)]


def launch_all(cells: list[Cell]) -> None:
    """One launch of each cell, in order: what ncu looks at."""
    context = nvfp4.Context("0")
    for cell in cells:
        n, k, m = cell["n"], cell["k"], cell["m"]
        kind = torch.bfloat16 if cell["act"] == "bf16" else torch.float16
        gemm = context.prepare(n, k, cell["act"], m_min=m, m_max=m, pdl=True)
        stream = torch.cuda.current_stream().cuda_stream
        size = max(256, gemm.workspace_bytes)
        workspace = torch.empty(size, device="cuda", dtype=torch.uint8)
        context.init_workspace(workspace, size, stream)
        gemm.launch(m, weights=random_packed(packed_bytes(n, k)), activations=torch.randn(m, k, device="cuda", dtype=kind),
                    global_scales=torch.full((-(-n // 64),), 1 / k, device="cuda"), workspace_bytes=size,
                    out=torch.empty(m, n, device="cuda", dtype=kind), workspace=workspace, stream=stream)
        torch.cuda.synchronize()


def compile_all(cells: list[Cell]) -> None:
    """Into the cache, on all cores: ncu's process then finds every kernel."""
    context = nvfp4.Context("0")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda c: context.prepare(c["n"], c["k"], c["act"], m_min=c["m"], m_max=c["m"], pdl=True), cells))


def number(text: str) -> float:
    return float(text.replace(",", "")) if text else 0.0


def counters(names: list[str], units: list[str], values: list[str]) -> dict[str, Any]:
    """Of one launch, from the columns of ncu's raw page."""
    launch, unit = dict(zip(names, values)), dict(zip(names, units))
    if absent := {TIME, CTAS, *(name for name, _ in BUSY.values())} - launch.keys():
        raise ValueError("this ncu has no " + ", ".join(sorted(absent)))
    stalls = {match["why"]: number(value) for name, value in launch.items() if (match := re.fullmatch(STALL, name))}
    all_stalls = sum(stalls.values())
    row: dict[str, Any] = {"ncu_us": round(number(launch[TIME]) * MICROSECONDS[unit[TIME]], 2)}
    for column, (name, factor) in BUSY.items():
        row[column] = round(number(launch[name]) * factor)
    row["ctas"] = int(number(launch[CTAS]))
    for place, (why, ratio) in enumerate(sorted(stalls.items(), key=lambda item: -item[1])[:2], 1):
        row[f"wait_{place}"] = f"{why} {100 * ratio / all_stalls:.0f}"
    return row


def parsed(text: str) -> list[dict[str, Any]]:
    """The launches in ncu's CSV, which other output may precede."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        raise ValueError("ncu printed no table: " + (lines[-1] if lines else "nothing"))
    names, units, *launches = csv.reader(io.StringIO("\n".join(lines[first:])))
    return [counters(names, units, launch) for launch in launches]


def self_check() -> None:
    assert goal(64, 19_000_000, False) == 0.60 and goal(64, 21_000_000, False) == 0.78
    assert goal(8, 40_000_000, True) == 0.88 and goal(64, 40_000_000, True) == 0 and goal(1024, 40_000_000, False) == 0.90
    names = ["ID", TIME, *(name for name, _ in BUSY.values()), CTAS]
    stalls = [f"smsp__average_warps_issue_stalled_{why}_per_issue_active.ratio" for why in ("dispatch_stall", "wait")]
    lines = (names + stalls, ["", "ns", "%", "", "%", "%", "%", "", "inst", "inst"],
             ["0", "17,408", "61.5", "0.4", "55.25", "20", "31", "132", "3", "1"])
    table = "==PROF== Connected\n" + "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines) + "\n"
    assert parsed(table) == [{"ncu_us": 17.41, "dram_pct": 62, "issue_pct": 40, "alu_pct": 55, "fma_pct": 20,
                              "tensor_pct": 31, "ctas": 132, "wait_1": "dispatch_stall 75", "wait_2": "wait 25"}]
    print("self-check ok")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, help="what `nvfp4-tune bench --save` wrote")
    parser.add_argument("--csv", type=Path, help="where the table goes (default: standard output)")
    parser.add_argument("--raw", type=Path, help="keep ncu's own table here")
    parser.add_argument("--launch", action="store_true", help=argparse.SUPPRESS)
    options = options_of(parser, self_check)
    if not options.bench:
        parser.error("--bench is missing")
    cells = missed(json.loads(options.bench.read_text()))
    if options.launch:
        launch_all(cells)
        return 0
    compile_all(cells)
    command = ["ncu", "--csv", "--page", "raw", "--clock-control", "none", "--kernel-name", "nvfp4_gemm"]
    for section in SECTIONS:
        command += ["--section", section]
    command += [sys.executable, __file__, "--launch", "--bench", str(options.bench)]
    profile = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if options.raw:
        options.raw.write_text(profile.stdout)
    launches = parsed(profile.stdout)
    if profile.returncode != 0 or len(launches) != len(cells):
        print(f"ncu ended with {profile.returncode}, {len(launches)} launches of {len(cells)} cells", file=sys.stderr)
        return 1
    rows = [{"n": cell["n"], "k": cell["k"], "m": cell["m"], "us": round(cell["us"], 2), "f": round(cell["f"], 3)} | launch
            for cell, launch in zip(cells, launches)]
    out = options.csv.open("w", newline="") if options.csv else sys.stdout
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
