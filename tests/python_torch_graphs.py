# SPDX-License-Identifier: Apache-2.0
"""The checks of nvfp4.torch with CUDA graphs and several streams; python_torch.py runs them."""
import gc
import time

from python_torch_operands import capture, check, linear_of, needs_workspace, nvfp4, refused, tokens_of
from torch_gpu import torch


@check
def compiled_graph_trees() -> str:
    """torch.compile(mode="reduce-overhead") captures and replays it"""
    linear, _ = needs_workspace()
    faster = torch.compile(linear, mode="reduce-overhead", fullgraph=True)
    with torch.no_grad():
        for _ in range(5):
            x = tokens_of(4, linear.in_features)
            assert torch.equal(faster(x).clone(), linear(x))
    return ""


@check
def graphs() -> str:
    """a captured graph replays on new inputs, bit for bit as eager"""
    linear, nbytes = needs_workspace()
    x = tokens_of(4, linear.in_features)
    graph, out = capture(lambda: linear(x))
    for _ in range(5):
        x.copy_(tokens_of(*x.shape))
        out.fill_(float("nan"))
        graph.replay()
        assert torch.equal(out, linear(x))
    return f"workspace of {nbytes} bytes"


@check
def graphs_with_pdl() -> str:
    """a chain of dependent launches gives the bits of the same launches one by one, eager and captured"""
    chain = [linear_of(2048, 2048, seed=i) for i in range(6)]
    x = tokens_of(2, 2048)

    for linear in chain:
        linear.pdl = True

    def run(wait: bool) -> "torch.Tensor":
        y = x
        for linear in chain:
            y = linear(y)
            if wait:
                torch.cuda.synchronize()
        return y

    want = run(True)
    for _ in range(10):
        assert torch.equal(run(False), want)
    graph, out = capture(lambda: run(False))
    for _ in range(10):
        out.fill_(float("nan"))
        graph.replay()
        assert torch.equal(out, want)
    return ""


@check
def unprepared_capture() -> str:
    """a capture of an unprepared shape is refused with the way out, and prepare() is that way"""
    linear = linear_of(192, 208)
    x = tokens_of(4, 208)
    refused(RuntimeError, "nvfp4.torch.prepare", lambda: capture(lambda: linear(x)))
    torch.cuda.synchronize()
    nvfp4.torch.prepare(torch.nn.Sequential(linear), max_tokens=4)
    graph, out = capture(lambda: linear(x))
    graph.replay()
    assert torch.equal(out, linear(x))
    return ""


@check
def two_streams() -> str:
    """two streams at once, eager, do not disturb each other"""
    linear, _ = needs_workspace()
    inputs = [tokens_of(4, linear.in_features) for _ in range(2)]
    want = [linear(x) for x in inputs]
    streams = [torch.cuda.Stream() for _ in inputs]
    torch.cuda.synchronize()
    outputs: list[list[torch.Tensor]] = [[], []]
    for _ in range(200):
        for i, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                outputs[i].append(linear(inputs[i]))
    torch.cuda.synchronize()
    for i in range(2):
        assert all(torch.equal(out, want[i]) for out in outputs[i])
    return ""


@check
def two_graphs() -> str:
    """two graphs replayed at once, and a fork within one, do not disturb each other"""
    linear, _ = needs_workspace()
    inputs = [tokens_of(4, linear.in_features) for _ in range(2)]
    want = [linear(x) for x in inputs]

    def chain(x: "torch.Tensor") -> "list[torch.Tensor]":
        return [linear(x) for _ in range(20)]

    graphs = [capture(lambda x=x: chain(x)) for x in inputs]
    streams = [torch.cuda.Stream() for _ in inputs]
    torch.cuda.synchronize()
    for _ in range(10):
        for (graph, _), stream in zip(graphs, streams):
            with torch.cuda.stream(stream):
                graph.replay()
    torch.cuda.synchronize()
    for (_, outputs), right in zip(graphs, want):
        assert all(torch.equal(out, right) for out in outputs)

    def fork() -> "list[list[torch.Tensor]]":
        side, main = streams[0], torch.cuda.current_stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            left = chain(inputs[0])
        right = chain(inputs[1])
        main.wait_stream(side)
        return [left, right]

    graph, branches = capture(fork)
    for _ in range(10):
        graph.replay()
    torch.cuda.synchronize()
    for outputs, right in zip(branches, want):
        assert all(torch.equal(out, right) for out in outputs)
    return ""


@check
def workspaces_return() -> str:
    """a graph that is gone gives its workspace to the next one"""
    linear, _ = needs_workspace()
    x = tokens_of(4, linear.in_features)
    spaces = nvfp4.torch._workspaces(torch.cuda.current_device())

    def held() -> int:
        return len(spaces._ends) + len(spaces._free)

    for i in range(12):
        graph, _ = capture(lambda: linear(x))
        graph.replay()
        torch.cuda.synchronize()
        del graph, _
        gc.collect()
        time.sleep(0.05)  # the driver posts from a thread of its own
        if i == 3:
            start = held()
    assert held() <= start, f"{held()} workspaces after 12 graphs, {start} after 4"
    return f"{held()} for 12 graphs and those of other checks"
