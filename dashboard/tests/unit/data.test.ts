// SPDX-License-Identifier: Apache-2.0
// From rows of a database to series with one point a run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from 'sql.js';
import { ColumnarTables } from '../../src/data/columnar.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { load } from '../../src/data/load.ts';
import { allSeries, newest, pointIn, seriesKey } from '../../src/data/series.ts';
import { SqliteTables } from '../../src/data/sqlite.ts';
import { columnar } from '../columnar.ts';
import { addCard, addMeasurement, addRun, emptyDatabase, fixture, insert } from '../fixture.ts';

const subject = { run: 1, kernel: 1, problem: 1, n: 4096, k: 4096, m: 8, policy: 'graph', provenance: 'measured' };

/** What the page makes of a database: the same from the file and from the columns in a page. */
function read(database: Database): Dataset {
  const [file, page] = [load(new SqliteTables(database, 1 << 20), 'x'), load(new ColumnarTables(columnar(database)), 'x')];
  const plain = (data: Dataset): object => {
    const { textOf, size, rows, ...rest } = data;
    const texts = Array.from({ length: rows.count }, (_, row) => textOf(row));
    // The longest arrays are of as many rows as there may be.
    const values = Object.entries({ ...rows }).map(([name, column]) => [name, typeof column === 'number' ? column : [...column.subarray(0, rows.count)]]);
    return { ...rest, texts, values: Object.fromEntries(values) };
  };
  assert.deepEqual(plain(page), plain(file));
  return file;
}

async function small() {
  const database = await emptyDatabase();
  addCard(database, 1);
  insert(database, 'toolchain', { id: 1, nvrtc: '13.0.88', driver: '13.0', template_digest: 'ab' });
  addRun(database, 1, 1, 'Test card');
  addRun(database, 2, 1, 'Test card, renamed');
  insert(database, 'problem', { id: 1, kind: 'dense', layout: 1, n: 4096, k: 4096, act: 'bf16', arch: 'sm_90a', experts: 0 });
  for (const id of [1, 2]) insert(database, 'kernel', { id, config: `family=mma,act=bf16,warps_k=${id}`, source_hash: '', code_hash: '', registers: 1, spill_bytes: 0, smem_bytes: 1 });
  return database;
}

test('a run gives a series one point: of each config the row with most samples, then the fastest', async () => {
  const database = await small();
  addMeasurement(database, 1, subject, { us: 4, samples: 3 });
  addMeasurement(database, 2, subject, { us: 5, samples: 15 });
  addMeasurement(database, 3, { ...subject, kernel: 2 }, { us: 4.9, samples: 15 });
  addMeasurement(database, 4, { ...subject, run: 2 }, { us: 6 });
  const data = read(database);
  const [series, ...more] = allSeries(data);
  assert.ok(series && more.length === 0);
  assert.deepEqual(series.points.map((row) => data.rows.id[row]), [3, 4]);
  assert.equal(data.rows.id[newest(series)], 4);
  assert.equal(pointIn(data, series, 1), 2);
  assert.equal(pointIn(data, series, 3), -1);
  assert.equal(data.devices[0]?.name, 'Test card, renamed');
});

test('measured and modelled times of one problem are two series', async () => {
  const database = await small();
  addMeasurement(database, 1, subject, { us: 4 });
  addMeasurement(database, 2, { ...subject, provenance: 'modelled' }, { us: 3 });
  const keys = allSeries(read(database)).map(seriesKey);
  assert.deepEqual(keys, ['1~4096x4096~bf16~8~graph~measured', '1~4096x4096~bf16~8~graph~modelled']);
});

test('a failed candidate is a row of the series and no point of it', async () => {
  const database = await small();
  addMeasurement(database, 1, subject, { us: 0, verdict: 'wrong', text: 'm 3, n 17' });
  const data = read(database);
  const [series] = allSeries(data);
  assert.deepEqual([series?.rows.length, series?.points.length], [1, 0]);
  assert.equal(data.textOf(0), 'm 3, n 17');
});

test('a row that refers to nothing, or holds no time, is left out and counted', async () => {
  const database = await small();
  addMeasurement(database, 1, { ...subject, problem: 7 }, { us: 4 });
  addMeasurement(database, 2, subject, { us: -4 });
  addMeasurement(database, 3, subject, { us: 4 });
  const data = read(database);
  assert.deepEqual([data.rows.count, data.skipped], [1, 2]);
});

test('a row with an unusable value in a column that is read later moves no other row', async () => {
  const database = await small();
  for (const id of [1, 2, 3]) addMeasurement(database, id, subject, { us: 4 });
  database.run('UPDATE measurement SET gbps = 10 * id, q1_us = id');
  database.run('UPDATE measurement SET gbps = 9e999 WHERE id = 1; UPDATE measurement SET q1_us = 9e999 WHERE id = 2');
  const { rows } = read(database);
  assert.deepEqual([...rows.gbps], [0, 20, 30]);
  assert.deepEqual([...rows.q1], [1, 0, 3]);
});

test('what version 1 lacks takes the defaults of the migration', async () => {
  const database = await fixture({ runs: 1, tokens: [1], bare: true });
  database.run('DROP TABLE comparison; DROP TABLE change_point; DROP TABLE rival; PRAGMA user_version = 1');
  for (const column of ['purpose', 'source_commit', 'driver_release', 'stream_gbps', 'tensor_tflops']) database.run(`ALTER TABLE run DROP COLUMN ${column}`);
  database.run('ALTER TABLE problem DROP COLUMN experts; ALTER TABLE measurement DROP COLUMN launch_us; ALTER TABLE measurement DROP COLUMN temperature_c');
  const data = read(database);
  assert.deepEqual([data.version, data.skipped, data.comparisons.length, data.rivals.length], [1, 0, 0, 0]);
  assert.deepEqual([data.runs[0]?.purpose, data.runs[0]?.streamGbps, data.problems[0]?.experts, data.rows.launch[0]], ['tune', 0, 0, 0]);
});

test('verdicts, change points and rivals are read with what they refer to', async () => {
  const data = read(await fixture({ runs: 6 }));
  assert.equal(data.skipped, 0);
  const one = data.comparisons.find((comparison) => comparison.verdict === 'slower');
  assert.ok(one);
  assert.equal(data.runs[data.rows.run[one.after] as number], one.run);
  assert.equal(data.runs[data.rows.run[one.before] as number], one.base);
  assert.ok(data.changePoints.length > 0 && data.rivals.some((rival) => rival.name === 'marlin'));
});
