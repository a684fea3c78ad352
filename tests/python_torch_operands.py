# SPDX-License-Identifier: Apache-2.0
"""What the checks of nvfp4.torch are made of; CHECKS holds them in order."""
import functools
from collections.abc import Callable

from torch_gpu import need, torch

nvfp4 = need("nvfp4.torch")

CHECKS: list[Callable[[], str]] = []


def check(function: Callable[[], str]) -> Callable[[], str]:
    CHECKS.append(function)
    return function


def linear_of(n: int, k: int, bias: bool = False, dtype: "torch.dtype | None" = None,
              seed: int = 0) -> "nvfp4.torch.Linear":
    torch.manual_seed(seed)
    source = torch.nn.Linear(k, n, bias, device="cuda", dtype=dtype or torch.bfloat16)
    return nvfp4.torch.Linear.from_linear(source, power_of_two=True)


def exact_linear(n: int, k: int, bias: bool, seed: int) -> "nvfp4.torch.Linear":
    """Scales of 1: on small whole activations every order of summation gives the same."""
    torch.manual_seed(seed)
    codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
    scales = torch.full((n, k // 16), 0x38, dtype=torch.uint8)
    return nvfp4.torch.Linear.from_checkpoint(
        codes, scales, 0.125 * 2**seed, bias=torch.randn(n) if bias else None, device="cuda")


def tokens_of(m: int, k: int, dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    return torch.randn(m, k, device="cuda", dtype=dtype or torch.bfloat16)


def capture(launch: Callable[[], "torch.Tensor"]) -> "tuple[torch.cuda.CUDAGraph, torch.Tensor]":
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = launch()
    return graph, out


@functools.cache
def needs_workspace() -> "tuple[nvfp4.torch.Linear, int]":
    """A linear whose kernels need a workspace, and the bytes."""
    for n, k in ((64, 8192), (64, 16384), (1024, 8192), (256, 28672)):
        linear = linear_of(n, k)
        linear(tokens_of(4, k))
        key = (torch.cuda.current_device(), n, k, torch.bfloat16, False, 6)
        if nbytes := nvfp4.torch._prepared[key].workspace_bytes:
            return linear, nbytes
    raise AssertionError("no shape needs a workspace: this check checks nothing")


def refused(kind: type, words: str, call: Callable[[], object]) -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), f"{error} does not say {words!r}"
        return
    raise AssertionError(f"nothing was raised, wanted {kind.__name__}")
