// SPDX-License-Identifier: Apache-2.0
// Configs as text, held against the struct that the kernels are compiled from.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { configDiff, configFields, configText, parseConfig } from '../../src/config.ts';

const full = 'family=wgmma,act=fp16,block_n=128,block_m=64,warps_k=1,num_stages=4,schedule=stream_k,cluster_n=2,pdl=1';

test('the fields and their defaults are those of templates/kernel_config.h', () => {
  const header = readFileSync('../templates/kernel_config.h', 'utf8');
  const body = /struct KernelConfig \{([\s\S]*?)friend/.exec(header)?.[1] ?? '';
  const declared = [...body.matchAll(/^ {2}\w+ (\w+) = (?:\w+::)?(\w+);/gm)].map(([, name, value]) => [name, value === 'false' ? '0' : value]);
  assert.equal(declared.length, 14);
  assert.deepEqual(configFields.map((field) => [field.name, field.initial]), declared);
});

test('canonical text comes back as itself', () => {
  for (const text of [full, 'family=mma,act=bf16', 'family=mma,act=bf16,schedule=split_k,split_k=4']) {
    const config = parseConfig(text);
    assert.ok(config, text);
    assert.equal(configText(config), text);
  }
});

test('text that the tuner would not write is refused', () => {
  for (const text of ['', 'family=mma', 'act=bf16,family=mma', 'family=mma,act=bf16,block_n=64', 'family=mma,act=bf16,block_n=064', 'family=mma,act=bf16,block_n=0',
    'family=mma,act=bf16,rows=3', 'family=mma,act=bf16,pdl=0', "family=mma,act=bf16'; rm -rf ~ #", `${full},${full}`, 'family=mma,act=bf16,', 'x'.repeat(600)]) {
    assert.equal(parseConfig(text), undefined, text);
  }
});

test('a diff lists every field and marks those that differ', () => {
  const [before, after] = [parseConfig('family=mma,act=bf16'), parseConfig('family=mma,act=bf16,block_n=32')];
  assert.ok(before && after);
  const differing = configDiff(before, after).filter((field) => field.differs);
  assert.deepEqual(differing.map(({ name, before: b, after: a }) => [name, b, a]), [['block_n', '64', '32']]);
});
