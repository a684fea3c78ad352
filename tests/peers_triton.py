# SPDX-License-Identifier: Apache-2.0
"""A plain Triton W4A16 kernel for NVFP4, the peer that anybody could write in an afternoon.

out[m, n] = g * sum_k x[m, k] * E2M1(codes[n, k]) * E4M3(scales[n, k / 16]), as out^T = W x^T: the
decoded weights are the operand that the tensor cores take from registers. Both formats are decoded
by moving bits: an E2M1 code is an fp16 number times 2^14, a positive E4M3 byte an fp32 number times
2^120.
"""
from typing import Any

import torch
import triton
import triton.language as tl


@triton.jit
def w4a16(x, codes, scales, out, g, m, n, k, BN: tl.constexpr, BM: tl.constexpr,
          BK: tl.constexpr, SPLIT: tl.constexpr):
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    tokens = tl.program_id(1) * BM + tl.arange(0, BM)
    part = tl.program_id(2)
    blocks = k // BK
    per_part = tl.cdiv(blocks, SPLIT)
    first = part * per_part
    last = tl.minimum(first + per_part, blocks)
    groups = tl.arange(0, BK // 16)
    column = tl.arange(0, 8)
    depth = tl.arange(0, BK)
    row_ok = rows < n
    token_ok = tokens < m
    acc = tl.zeros((BN, BM), tl.float32)
    for block in range(first, last):
        group = block * (BK // 16) + groups
        c = tl.load(codes + rows[:, None, None] * (k // 2) + group[None, :, None] * 8
                    + column[None, None, :], mask=row_ok[:, None, None], other=0)
        s = tl.load(scales + rows[:, None] * (k // 16) + group[None, :],
                    mask=row_ok[:, None], other=0)
        a = tl.load(x + tokens[None, :] * k + (block * BK + depth)[:, None],
                    mask=token_ok[None, :], other=0.0)
        low = ((c & 7).to(tl.uint16) << 9) | ((c & 8).to(tl.uint16) << 12)
        high = (((c >> 4) & 7).to(tl.uint16) << 9) | (((c >> 4) & 8).to(tl.uint16) << 12)
        value = tl.interleave(low, high).to(tl.float16, bitcast=True).to(tl.float32)
        scale = ((s.to(tl.uint32) & 127) << 20).to(tl.float32, bitcast=True)
        scale = scale * 1.329227995784916e36  # 2^120
        w = (value * scale[:, :, None]).to(tl.bfloat16)
        acc = tl.dot(tl.reshape(w, (BN, BK)), a, acc)
    y = acc * (g * 16384.0)  # 2^14
    at = tokens[None, :] * n + rows[:, None]
    ok = row_ok[:, None] & token_ok[None, :]
    if SPLIT == 1:
        tl.store(out + at, y.to(tl.bfloat16), mask=ok)
    else:
        tl.store(out + part * m * n + at, y, mask=ok)


@triton.jit
def add_parts(parts, out, count, SPLIT: tl.constexpr, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    ok = at < count
    total = tl.zeros((SIZE,), tl.float32)
    for part in tl.static_range(SPLIT):
        total += tl.load(parts + part * count + at, mask=ok, other=0.0)
    tl.store(out + at, total.to(tl.bfloat16), mask=ok)


def launch(config: Any, x: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor, g: float,
           parts: torch.Tensor, out: torch.Tensor) -> None:
    """`parts` holds split_k float32 copies of `out`."""
    (m, k), n = x.shape, codes.shape[0]
    grid = (triton.cdiv(n, config.block_n), triton.cdiv(m, config.block_m), config.split_k)
    w4a16[grid](x, codes, scales, out if config.split_k == 1 else parts, g, m, n, k,
                BN=config.block_n, BM=config.block_m, BK=config.block_k, SPLIT=config.split_k,
                num_warps=config.warps, num_stages=config.stages)
    if config.split_k > 1:
        add_parts[(triton.cdiv(m * n, 1024),)](parts, out, m * n, SPLIT=config.split_k, SIZE=1024)
