#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Llama of a billion random weights, decoded with NVFP4 linears and with their dequantised bf16 twins.

Both run the same decode step in a CUDA graph: a static cache, fused qkv and gate_up, PyTorch kernels for
all but the linears. Tokens of greedy decoding are compared step by step on one history, then tokens a
second are measured, interleaved. Exit codes: 0 ok, 1 tokens or logits differ, 2 usage, 3 could not run.

    NVFP4_LIBRARY=build/libnvfp4.so timeout 170 tests/llama_torch.py --json llama.json
"""
import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from torch_gpu import need, options_of, torch

transformers = need("transformers")
nvfp4 = need("nvfp4.torch")
F = torch and torch.nn.functional

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 4, 16, 64
BATCHES = (1, 16, 64)
CONTEXT = 256  # positions of the cache; times are taken in its second half
REPLAYS, ROUNDS = 100, 5
# Two models that round differently may swap tokens whose logits are this close, in units of the usual
# largest difference between their logits; farther apart they may not.
DECISIVE = 4
MAX_LOGIT_ERROR = 0.05  # of the logits' norm: bf16 rounds every activation to 2^-9


def judge(gaps: list[float], differences: list[float], equal: list[bool]) -> dict[str, Any]:
    """gaps: between the reference's two best logits at each step; differences: the largest between both
    models' logits there; equal: whether both chose the same token. A mismatch counts where the gap
    exceeds DECISIVE times the median difference, which one bad step does not move."""
    limit = DECISIVE * statistics.median(differences)
    decisive = [gap > limit for gap in gaps]
    return {"steps": len(gaps), "equal": sum(equal), "decisive": sum(decisive),
            "mismatches": sum(d and not e for d, e in zip(decisive, equal)),
            "median_difference": statistics.median(differences),
            "largest_difference": max(differences)}


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| batch | ours, PDL, tokens/s | ours, tokens/s | bf16, tokens/s | times as fast |",
             "|---|---|---|---|---|"]
    for row in rows:
        speeds = [row["tokens_per_second"][name] for name in ("ours_pdl", "ours", "bf16")]
        lines.append(f"| {row['batch']} | {speeds[0]:.0f} | {speeds[1]:.0f} | {speeds[2]:.0f} "
                     f"| {max(speeds[:2]) / speeds[2]:.2f} |")
    return "\n".join(lines)


def self_check() -> None:
    """What can be checked without torch."""
    verdict = judge([1.0, 0.1, 2.0], [0.1, 0.1, 0.2], [True, False, False])
    assert verdict["mismatches"] == 1 and verdict["decisive"] == 2 and verdict["equal"] == 1
    row = {"batch": 16, "tokens_per_second": {"ours_pdl": 300.0, "ours": 250.0, "bf16": 150.0}}
    assert "| 16 | 300 | 250 | 150 | 2.00 |" in markdown([row])
    print("self-check ok")


def progress(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


STARTED = time.monotonic()


def make_model(layers: int) -> Any:
    config = transformers.LlamaConfig(
        hidden_size=2048, num_hidden_layers=layers, intermediate_size=8192, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=32000, max_position_embeddings=CONTEXT,
        tie_word_embeddings=False)
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config)
    model.cuda().eval().requires_grad_(False)
    for parameter in model.parameters():  # and not the buffers: frequencies stay float32
        parameter.data = parameter.data.bfloat16()
    return model


def fuse(linears: list[Any], dequantise: bool) -> Any:
    """One linear of several with the same input."""
    whole = nvfp4.torch.Linear.stack(*linears)
    return whole.dequantized_linear() if dequantise else whole


class Decoder:
    """The decode step of a Llama whose linears are nvfp4.torch.Linear, for `batch` sequences in step."""

    def __init__(self, model: Any, batch: int, dequantise: bool):
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = config.hidden_size // self.heads
        self.epsilon = config.rms_norm_eps
        self.embedding, self.norm = model.model.embed_tokens.weight, model.model.norm.weight
        self.head = model.lm_head
        self.layers = []
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            self.layers.append((
                layer.input_layernorm.weight,
                fuse([attention.q_proj, attention.k_proj, attention.v_proj], dequantise),
                fuse([attention.o_proj], dequantise),
                layer.post_attention_layernorm.weight,
                fuse([mlp.gate_proj, mlp.up_proj], dequantise),
                fuse([mlp.down_proj], dequantise)))
        self.resize(batch)
        angles = torch.arange(CONTEXT, device=self.embedding.device)[:, None] * (
            model.model.rotary_emb.inv_freq.float().to(self.embedding.device)[None])
        self.cos, self.sin = (f(torch.cat((angles, angles), 1)).bfloat16() for f in (torch.cos, torch.sin))

    def resize(self, batch: int) -> None:
        shape, device = (batch, self.kv_heads, CONTEXT, self.size), self.embedding.device
        self.caches = [tuple(torch.zeros(shape, device=device, dtype=torch.bfloat16) for _ in range(2))
                       for _ in self.layers]
        self.tokens = torch.zeros(batch, device=device, dtype=torch.long)
        self.position = torch.zeros(1, device=device, dtype=torch.long)
        self.graph = None

    def linears(self) -> list[Any]:
        return [linear for layer in self.layers for linear in (layer[1], layer[2], layer[4], layer[5])]

    def rotate(self, x: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor") -> "torch.Tensor":
        low, high = x.chunk(2, -1)
        return x * cos + torch.cat((-high, low), -1) * sin

    def attend(self, qkv: "torch.Tensor", cache: "tuple[torch.Tensor, torch.Tensor]",
               cos: "torch.Tensor", sin: "torch.Tensor", future: "torch.Tensor") -> "torch.Tensor":
        batch, groups = len(qkv), self.heads // self.kv_heads
        heads = qkv.view(batch, self.heads + 2 * self.kv_heads, self.size)
        turned = self.rotate(heads[:, :self.heads + self.kv_heads], cos, sin)
        keys, values = cache
        keys.index_copy_(2, self.position, turned[:, self.heads:, None])
        values.index_copy_(2, self.position, heads[:, self.heads + self.kv_heads:, None])
        query = turned[:, :self.heads].reshape(batch, self.kv_heads, groups, self.size)
        scores = (query @ keys.transpose(2, 3)).float() * self.size**-0.5
        weights = scores.masked_fill(future, float("-inf")).softmax(-1).bfloat16()
        return (weights @ values).reshape(batch, self.heads * self.size)

    def step(self) -> "torch.Tensor":
        """Reads self.tokens at self.position, puts the best next tokens there; returns the logits."""
        h = F.embedding(self.tokens, self.embedding)
        cos, sin = self.cos[self.position][None], self.sin[self.position][None]
        future = torch.arange(CONTEXT, device=h.device) > self.position
        width = (self.heads * self.size,)
        for (norm, qkv, out, norm2, gate_up, down), cache in zip(self.layers, self.caches):
            x = F.rms_norm(h, width, norm, self.epsilon)
            h = h + out(self.attend(qkv(x), cache, cos, sin, future))
            gate, up = gate_up(F.rms_norm(h, width, norm2, self.epsilon)).chunk(2, -1)
            h = h + down(F.silu(gate) * up)
        logits = self.head(F.rms_norm(h, width, self.norm, self.epsilon)).float()
        self.tokens.copy_(logits.argmax(-1))
        self.position += 1
        return logits

    def capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # loads kernels, and makes what the libraries keep
            for _ in range(2):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self.step()
        self.position.zero_()

    def feed(self, tokens: "torch.Tensor") -> "torch.Tensor":
        self.tokens.copy_(tokens)
        self.graph.replay()
        return self.logits


def compare_tokens(ours: Decoder, reference: Decoder, prompts: "torch.Tensor") -> dict[str, Any]:
    """Greedy decoding of the reference; ours chooses at each step on the same history."""
    for column in prompts.t()[:-1]:
        ours.feed(column), reference.feed(column)
    tokens = prompts[:, -1].clone()
    gaps, differences, equal, errors, chosen = [], [], [], [], []
    for _ in range(NEW_TOKENS):
        got, want = ours.feed(tokens), reference.feed(tokens)
        best = want.topk(2, -1).values
        gaps += (best[:, 0] - best[:, 1]).tolist()
        differences += (got - want).abs().amax(-1).tolist()
        equal += (got.argmax(-1) == want.argmax(-1)).tolist()
        errors.append(((got - want).norm() / want.norm()).item())
        tokens = want.argmax(-1)
        chosen.append(tokens.tolist())
    return judge(gaps, differences, equal) | {
        "prompts": len(prompts), "logit_error": max(errors),
        "distinct_tokens": len({token for step in chosen for token in step})}


def compare_with_transformers(model: Any, ours: Decoder, prompts: "torch.Tensor") -> float:
    """Relative error of the decoder's logits against transformers' own forward of the same linears."""
    with torch.no_grad():
        want = model(prompts, use_cache=False).logits[:, -1].float()
    for column in prompts.t():
        got = ours.feed(column)
    return ((got - want).norm() / want.norm()).item()


def milliseconds(decoder: Decoder) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    decoder.position.fill_(CONTEXT - REPLAYS - 1)
    decoder.graph.replay()
    start.record()
    for _ in range(REPLAYS):
        decoder.graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / REPLAYS


def measure(ours: Decoder, reference: Decoder, batch: int) -> dict[str, Any]:
    """Of three graphs in turn: ours with and without dependent launches, and the reference's."""
    graphs = {}
    for name, decoder, pdl in (("ours_pdl", ours, True), ("ours", ours, False),
                               ("bf16", reference, False)):
        decoder.resize(batch)
        for linear in ours.linears():
            linear.pdl = pdl
        decoder.capture()
        graphs[name] = (decoder, decoder.graph, decoder.caches, decoder.tokens, decoder.position)
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(ROUNDS):
        for name, (decoder, *state) in graphs.items():
            decoder.graph, decoder.caches, decoder.tokens, decoder.position = state
            times[name].append(milliseconds(decoder))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {"batch": batch, "ms_per_step": medians, "ms_of_rounds": times,
            "tokens_per_second": {name: batch / ms * 1e3 for name, ms in medians.items()}}


def run(options: argparse.Namespace) -> dict[str, Any]:
    model = make_model(options.layers)
    parameters = sum(p.numel() for p in model.parameters())
    progress(f"{parameters / 1e9:.2f} billion parameters")
    names = nvfp4.torch.replace_linears(model, power_of_two=True)
    packed = sum(m.packed.numel() for m in model.modules() if isinstance(m, nvfp4.torch.Linear))
    progress(f"quantised {len(names)} linears into {packed / 1e6:.0f} MB")
    ours, reference = (Decoder(model, PROMPTS, dequantise) for dequantise in (False, True))
    prompts = torch.randint(0, model.config.vocab_size, (PROMPTS, PROMPT_TOKENS), device="cuda")
    document: dict[str, Any] = {
        "schema": 1, "card": torch.cuda.get_device_name(), "torch": torch.__version__,
        "transformers": transformers.__version__, "libnvfp4": nvfp4.version(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "parameters": parameters, "layers": options.layers, "context": CONTEXT,
        "packed_bytes": packed, "bf16_bytes": sum(l.weight.numel() * 2 for l in reference.linears())}
    with torch.no_grad():
        for decoder in (ours, reference):
            decoder.capture()
        progress("captured both decode steps")
        document["tokens"] = compare_tokens(ours, reference, prompts)
        progress(f"tokens: {document['tokens']}")
        ours.position.zero_()
        try:
            document["transformers_error"] = compare_with_transformers(model, ours, prompts)
            progress(f"transformers' own forward differs by {document['transformers_error']:.4f}")
        except Exception as error:  # another version's interface must not cost the rest
            document["transformers_note"] = repr(error)
            progress(f"transformers' own forward failed: {error!r}")
        save(document, options.json)
        document["rows"] = []
        for batch in BATCHES:
            document["rows"].append(measure(ours, reference, batch))
            save(document, options.json)
            progress(f"batch {batch}: {document['rows'][-1]['tokens_per_second']}")
    return document


def save(document: dict[str, Any], path: "Path | None") -> None:
    if path:
        path.write_text(json.dumps(document, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--layers", type=int, default=16, help="16: 1.1 billion parameters")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = options_of(parser, self_check)
    document = run(options)
    print(json.dumps(document))
    print(markdown(document["rows"]))
    tokens = document["tokens"]
    wrong = (tokens["mismatches"] > 0 or not tokens["logit_error"] <= MAX_LOGIT_ERROR
             or not document.get("transformers_error", 0) <= MAX_LOGIT_ERROR)
    print(f"{tokens['equal']} of {tokens['steps']} tokens equal, {tokens['mismatches']} of "
          f"{tokens['decisive']} decisive ones differ: {'FAILED' if wrong else 'ok'}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
