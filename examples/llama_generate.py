#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replaces the linears of a transformers model by NVFP4 ones and generates: a small Llama with random
weights, so that nothing is downloaded. Needs a GPU, PyTorch 2.4 or newer and transformers.

    PYTHONPATH=python NVFP4_LIBRARY=build/libnvfp4.so examples/llama_generate.py
"""
import torch
import transformers

import nvfp4.torch

config = transformers.LlamaConfig(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
                                  num_attention_heads=16, num_key_value_heads=4, vocab_size=8192)
torch.manual_seed(0)
model = transformers.LlamaForCausalLM(config).to(device="cuda", dtype=torch.bfloat16).eval()
before = sum(p.numel() * p.element_size() for p in model.parameters())

# A checkpoint in NVFP4 would be loaded by nvfp4.torch.load_checkpoint(model, folder, device="cuda").
names = nvfp4.torch.replace_linears(model)
nvfp4.torch.prepare(model, max_tokens=64)
after = sum(t.numel() * t.element_size() for t in model.state_dict().values())
print(f"{len(names)} linears replaced: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB now")

prompt = torch.randint(0, config.vocab_size, (1, 8), device="cuda")
tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24,
                        do_sample=False, pad_token_id=0)
print(tokens[0, 8:].tolist())
