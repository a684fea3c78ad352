// SPDX-License-Identifier: Apache-2.0
// What is written for people, spreadsheets, shells and addresses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csv, json } from '../../src/download.ts';
import { inModel, launches, parseModels } from '../../src/models.ts';
import { geometricMean } from '../../src/pages/geometric_mean.ts';
import { harmless, reproduce } from '../../src/reproduce.ts';
import { fromHash, initialState, toHash } from '../../src/state.ts';
import { change, counted, date, shown, us } from '../../src/text.ts';

const row = { n: 4096, k: 14336, experts: 0, m: 64, policy: 'graph+pdl', config: 'family=mma,act=fp16,pdl=1', runCommand: 'nvfp4-tune --device emulated:h100 --M 64' };

test('text of a database is one short line of visible characters', () => {
  assert.equal(shown('a\u202eb\nc\u0000'), 'a\ufffdb\ufffdc\ufffd');
  assert.equal(shown('x'.repeat(1 << 20)).length, 161);
});

test('numbers align, and what is unknown is a dash', () => {
  assert.deepEqual([us(4.667), us(2739.9), us(0)], ['4.67', '2739.90', '–']);
  assert.deepEqual([change(1.034), change(0.966), change(1.0001), change(0)], ['+3.4 %', '−3.4 %', '±0.0 %', '–']);
  assert.deepEqual([counted(1, 'run'), counted(2000, 'run'), counted(3, 'series')], ['1 run', '2\u2009000 runs', '3 series']);
  assert.equal(date('2026-11-27T20:39:56Z'), '2026-11-27 20:39');
});

test('CSV quotes, and puts an apostrophe before what a spreadsheet would compute', () => {
  assert.equal(csv([{ name: '=1+1', text: 'a,"b"', us: -4.5, none: null }]), `name,text,us,none\n'=1+1,"a,""b""",-4.5,\n`);
  assert.deepEqual(JSON.parse(json('t', [{ a: 1 }])), { schema: 1, table: 't', rows: [{ a: 1 }] });
});

test('a command to measure again names shape, M, policy, device and config', () => {
  assert.equal(reproduce(row), 'nvfp4-tune --shape 4096,14336 --M 64 --act fp16 --policy graph+pdl --device emulated:h100 --config family=mma,act=fp16,pdl=1 --force');
});

test('nothing of a stranger goes into a command as it stands', () => {
  for (const bad of [{ config: '$(reboot)' }, { policy: 'graph;reboot' }, { n: 1.5 }, { m: -1 }, { k: Number.NaN }]) {
    assert.equal(reproduce({ ...row, ...bad }), undefined);
  }
  assert.doesNotMatch(reproduce({ ...row, runCommand: 'nvfp4-tune --device emulated:h100;reboot' }) ?? '', /reboot|device/);
  assert.equal(harmless('nvfp4-tune bench --suite all'), true);
  for (const bad of ['rm -rf ~', 'nvfp4-tune $(reboot)', 'nvfp4-tune a\nreboot', 'nvfp4-tune `x`']) assert.equal(harmless(bad), false, bad);
});

test('an address says all that is looked at, and comes back as itself', () => {
  const state = { ...initialState, page: 'history' as const, run: 7, base: 3, series: '1~4096x4096~bf16~8~graph+pdl~measured', filters: { ...initialState.filters, shape: ['4096x4096', 'a,b&c=%'], m: ['1', '8'] } };
  assert.deepEqual(fromHash(toHash(state)), state);
  assert.equal(toHash(initialState), '#/changes');
});

test('an address that makes no sense is the landing page', () => {
  for (const hash of ['', '#', '#/nowhere', '#/changes?run=-1&base=x&question=why', '#/changes?shape=%E0%A4%A']) assert.deepEqual(fromHash(hash), initialState, hash);
});

test('a model is its launches of each shape; text that is no table is none', () => {
  const [model] = parseModels('[{"name":"m","gemms":[{"n":4096,"k":4096,"experts":0,"count":32},{"n":4096,"k":4096,"experts":0,"count":1}]},{"name":3}]');
  const problem = { id: 1, kind: 'dense', n: 4096, k: 4096, act: 'bf16', arch: 'sm_90a', experts: 0, shape: '4096x4096' };
  assert.ok(model && inModel(model, problem));
  assert.equal(launches(model, problem), 33);
  assert.equal(launches(model, { ...problem, experts: 8 }), 0);
  assert.deepEqual([parseModels(''), parseModels('{}')], [[], []]);
});

test('the mean of ratios is geometric', () => {
  assert.ok(Math.abs(geometricMean([2, 0.5]) - 1) < 1e-12);
  assert.equal(geometricMean([]), 0);
});
