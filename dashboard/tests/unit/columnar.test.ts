// SPDX-License-Identifier: Apache-2.0
// Columns inside a page. That they say what an SQLite file does, data.test.ts checks with every read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ColumnarTables, isColumnar } from '../../src/data/columnar.ts';
import { type Cell, type Column, number, optional, text, word } from '../../src/data/tables.ts';
import { columnar } from '../columnar.ts';
import { emptyDatabase, insert } from '../fixture.ts';

async function withRivals(...names: string[]): Promise<Uint8Array> {
  const database = await emptyDatabase();
  names.forEach((name, i) => insert(database, 'rival', { id: i + 1, run: 70_000 * i, problem: 1, m: 300, policy: 'graph', name, median_us: 0.1 + i, q1_us: 1.5, q3_us: 1.5, samples: i }));
  return columnar(database);
}

function scanned(tables: ColumnarTables, table: string, columns: readonly Column[]): { rows: Cell[][]; skipped: number } {
  const rows: Cell[][] = [];
  const skipped = tables.scan(table, columns, (row) => void rows.push([...row]));
  return { rows, skipped };
}

test('numbers of every width, texts and known words come back', async () => {
  const bytes = await withRivals('marlin', 'cublas_bf16');
  assert.ok(isColumnar(bytes) && !isColumnar(bytes.subarray(1)));
  const tables = new ColumnarTables(bytes);
  const columns = [number('id'), number('run'), number('m'), number('median_us'), number('q1_us'), text('name'), word('name', ['cublas_bf16']), number('later', 7)];
  assert.deepEqual(scanned(tables, 'rival', columns), { rows: [[1, 0, 300, 0.1, 1.5, 'marlin', 'marlin', 7], [2, 70_000, 300, 1.1, 1.5, 'cublas_bf16', 0, 7]], skipped: 0 });
  assert.deepEqual([tables.version, tables.mostRows('rival'), tables.mostRows('winner'), tables.size], [2, 2, 0, bytes.length]);
  assert.deepEqual([tables.textOf('rival', 'name', 2), tables.textOf('rival', 'name', 3), tables.textOf('nothing', 'name', 1)], ['cublas_bf16', '', '']);
  assert.deepEqual(scanned(tables, 'nothing', columns), { rows: [], skipped: 0 });
});

test('NULL and what is no finite number cost their row where the column must have a value', async () => {
  const database = await emptyDatabase();
  const told = { base_run: 1, run: 2, problem: 1, m: 1, policy: 'graph', question: 'best_config', verdict: 'added', reason: '', ratio: 1, ratio_lo: 1, ratio_hi: 1, cycles_ratio: 1 };
  insert(database, 'comparison', { id: 1, ...told, base_measurement: null, measurement: 5 });
  insert(database, 'comparison', { id: 2, ...told, base_measurement: 4, measurement: 6, ratio: Number.POSITIVE_INFINITY });
  const tables = new ColumnarTables(columnar(database));
  assert.deepEqual(scanned(tables, 'comparison', [number('id'), optional(number('base_measurement'))]).rows, [[1, null], [2, 4]]);
  assert.deepEqual(scanned(tables, 'comparison', [number('base_measurement')]), { rows: [[4]], skipped: 1 });
  assert.deepEqual(scanned(tables, 'comparison', [number('ratio')]), { rows: [[1]], skipped: 1 });
});

test('a long text is cut, and not through a letter', async () => {
  const tables = new ColumnarTables(await withRivals(`${'a'.repeat(2047)}\u{1f600}`));
  assert.equal(tables.textOf('rival', 'name', 1), 'a'.repeat(2047));
  assert.deepEqual(scanned(tables, 'rival', [text('name')]).rows, [['a'.repeat(2047)]]);
});

test('columns that are missing, of another type or another length are refused', async () => {
  const bytes = await withRivals('marlin');
  const tables = new ColumnarTables(bytes);
  assert.throws(() => scanned(tables, 'rival', [number('name')]), /malformed: column name is no number/);
  assert.throws(() => scanned(tables, 'rival', [text('run')]), /malformed: column run is no text/);
  assert.throws(() => scanned(tables, 'rival', [number('nothing')]), /malformed: column nothing is missing/);
  assert.throws(() => new ColumnarTables(bytes.subarray(0, -1)), /malformed/);
});
