// SPDX-License-Identifier: Apache-2.0
// Databases to test with, made of the product's own schema. Every number is made up, and the card is
// named accordingly. The same seed gives the same bytes.
import { readFileSync } from 'node:fs';
import initSqlJs, { type Database, type SqlValue } from 'sql.js';

export interface Spec {
  readonly shapes?: readonly (readonly [n: number, k: number])[];
  readonly tokens?: readonly number[];
  readonly policies?: readonly string[];
  readonly runs?: number;
  /** Measured for every series in every run; the first one is the fastest. */
  readonly candidates?: number;
  readonly cardName?: string;
  readonly modelled?: boolean;
  /** Leaves out comparison, change_point and rival. */
  readonly bare?: boolean;
}

const configs = [
  'family=mma,act=bf16,block_n=32,block_m=8,block_k=128,warps_k=8,pdl=1',
  'family=mma,act=bf16,block_n=16,block_m=8,block_k=128,warps_k=8,ctas_per_sm=2,pdl=1',
  'family=wgmma,act=bf16,block_m=64,block_k=128,warps_k=1,num_stages=4,pdl=1',
  'family=wgmma,act=bf16,block_n=128,block_m=128,warps_k=1,num_stages=4,schedule=stream_k,pdl=1',
  'family=mma,act=bf16,block_n=64,block_m=32,schedule=split_k,split_k=4,pdl=1',
];
const failures = ['spill', 'wrong', 'compile_error'];

export const suiteShapes = [
  [4096, 4096], [6144, 4096], [14336, 4096], [4096, 14336], [15360, 3840],
  [3840, 15360], [21504, 5376], [5376, 21504], [28672, 8192], [8192, 28672],
] as const;

const kStream = 3105;
const kTensor = 730;

/** Mulberry32: small, fast, and the same everywhere. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export async function emptyDatabase(): Promise<Database> {
  const sql = await initSqlJs();
  const database = new sql.Database();
  database.run(readFileSync('../tuning_db/schema.sql', 'utf8'));
  database.run('PRAGMA application_id = 0x6e766634; PRAGMA user_version = 2');
  return database;
}

export function insert(database: Database, table: string, row: Record<string, SqlValue>): void {
  const names = [...Object.keys(row), 'checksum'];
  const statement = prepared(database, `INSERT INTO ${table}(${names.join(',')}) VALUES(${names.map(() => '?').join(',')})`);
  statement.run([...Object.values(row), 0]);
}

const cache = new WeakMap<Database, Map<string, ReturnType<Database['prepare']>>>();
function prepared(database: Database, text: string): ReturnType<Database['prepare']> {
  let known = cache.get(database);
  if (!known) cache.set(database, (known = new Map()));
  let statement = known.get(text);
  if (!statement) known.set(text, (statement = database.prepare(text)));
  return statement;
}

export function addCard(database: Database, id: number, emulated = 0): void {
  insert(database, 'device', { id, arch: 'sm_90a', sm_count: 132 - id + 1, l2_bytes: 52428800, smem_per_block: 232448, bandwidth_class: 34, emulated });
}

export function addRun(database: Database, id: number, device: number, name: string, more: Record<string, SqlValue> = {}): void {
  const day = String(1 + (id % 28)).padStart(2, '0');
  insert(database, 'run', {
    id, device, toolchain: 1, device_name: name, command: 'nvfp4-tune bench --suite all --record', date: `2026-10-${day}T08:00:00Z`, seed: 1,
    purpose: 'bench', source_commit: (0xa3f0000 + id * 7919).toString(16), driver_release: '580.159.04', stream_gbps: kStream, tensor_tflops: kTensor, ...more,
  });
}

export interface Timing {
  readonly us: number;
  readonly verdict?: string;
  readonly text?: string;
  readonly samples?: number;
}

interface Subject {
  readonly run: number;
  readonly kernel: number;
  readonly problem: number;
  readonly n: number;
  readonly k: number;
  readonly m: number;
  readonly policy: string;
  readonly provenance: string;
}

export function roofline(n: number, k: number, m: number): number {
  const read = (n * k * 0.5625) / kStream / 1e3 + 1.5;
  return Math.max(read, (2 * n * k * m) / kTensor / 1e6);
}

export function addMeasurement(database: Database, id: number, subject: Subject, timing: Timing): void {
  const { n, k, ...columns } = subject;
  const ok = (timing.verdict ?? 'ok') === 'ok';
  // Medians are of float32 samples, quartiles too; what follows from them is rounded like them for a page.
  const us = ok ? Math.fround(timing.us) : 0;
  const per = (value: number): number => (ok ? Math.fround(value / us) : 0);
  const gbps = per((n * k * 0.5625) / 1e3);
  insert(database, 'measurement', {
    id, ...columns, verdict: timing.verdict ?? 'ok', text: timing.text ?? '', median_us: us, q1_us: Math.fround(us * 0.996), q3_us: Math.fround(us * 1.005),
    samples: ok ? (timing.samples ?? 15) : 0, gbps, pct_ceiling: Math.fround((gbps / kStream) * 100), tflops: per((2 * n * k * subject.m) / 1e6),
    f: per(roofline(n, k, subject.m)), clock_mhz: ok ? 1965 + (id % 3) * 7 : 0, throttled: id % 97 === 0 ? 1 : 0, samples_us: new Uint8Array(0),
    launch_us: Math.fround(roofline(n, k, 1)), temperature_c: 51 + (id % 9),
  });
}

function addKernels(database: Database): void {
  configs.forEach((config, i) => insert(database, 'kernel', { id: i + 1, config, source_hash: 'a'.repeat(64), code_hash: String(i + 1).repeat(64), registers: 96 + i * 16, spill_bytes: 0, smem_bytes: 79872 + i * 16384 }));
}

interface Told {
  readonly base: number;
  readonly run: number;
  readonly problem: number;
  readonly m: number;
  readonly policy: string;
  readonly before: number;
  readonly after: number;
}

function addVerdict(database: Database, id: number, told: Told, ratio: number): void {
  const verdict = ratio > 1.015 ? 'slower' : ratio < 0.985 ? 'faster' : ratio > 1.008 ? 'ambiguous' : id % 3 === 0 ? 'unchanged' : 'same';
  const reason = verdict === 'ambiguous' ? 'the intervals overlap by a third: nvfp4-tune bench --record settles it' : '';
  insert(database, 'comparison', {
    id, base_run: told.base, run: told.run, problem: told.problem, m: told.m, policy: told.policy, question: id % 2 === 0 ? 'best_config' : 'same_config',
    verdict, reason, base_measurement: told.before, measurement: told.after,
    ratio: Math.fround(ratio), ratio_lo: Math.fround(ratio * 0.996), ratio_hi: Math.fround(ratio * 1.004), cycles_ratio: Math.fround(ratio),
  });
}

/** Ids that count up over the whole database. */
class Counters {
  measurement = 0;
  comparison = 0;
  changePoint = 0;
  rival = 0;
}

function addSeries(database: Database, spec: Required<Spec>, ids: Counters, problem: number, m: number, policy: string, chance: () => number): void {
  const [n, k] = spec.shapes[problem - 1] as readonly [number, number];
  const ideal = roofline(n, k, m) / (m >= 32 && m <= 128 ? 0.68 : 0.94);
  // One series in six has a step of -4 or +5 % in the middle of its history.
  const stepped = (problem + m) % 6 === 0;
  const provenance = spec.modelled ? 'modelled' : 'measured';
  let [before, last] = [0, 0];
  for (let run = 1; run <= spec.runs; ++run) {
    const after = run > spec.runs / 2 && stepped;
    // One in nine differs in the newest run only.
    const late = run === spec.runs && (problem + m) % 9 === 4 ? (m % 16 === 0 ? 1.034 : 0.957) : 1;
    const step = (after ? (problem % 2 === 0 ? 0.96 : 1.05) : 1) * late;
    const us = ideal * step * (1 + (chance() - 0.5) * 0.008) * (policy === 'graph' ? 1.08 : 1);
    const first = ids.measurement + 1;
    for (let i = 0; i < spec.candidates; ++i) {
      const kernel = ((i + problem + (after ? 1 : 0)) % configs.length) + 1;
      const subject = { run, kernel, problem, n, k, m, policy, provenance };
      const failed = i > 0 && i % 7 === 6;
      addMeasurement(database, ++ids.measurement, subject, failed ? { us: 0, verdict: failures[i % 3] ?? '', text: 'spill stores: 32 bytes' } : { us: us * (1 + i * 0.06), samples: i < 4 ? 15 : 3 });
    }
    if (spec.bare) continue;
    if (run > 1) {
      const told = { base: run - 1, run, problem, m, policy, before: last, after: first };
      addVerdict(database, (ids.comparison += 2), told, us / before);
      addVerdict(database, ids.comparison + 1, told, 1 + (chance() - 0.5) * 0.006);
    }
    if (run === spec.runs) insert(database, 'rival', { id: ++ids.rival, run, problem, m, policy, name: 'cublas_bf16', median_us: us * Math.max(0.9, 3.4 - Math.log2(m) * 0.28), q1_us: us, q3_us: us * 3, samples: 15 });
    if (run === spec.runs && m <= 64) insert(database, 'rival', { id: ++ids.rival, run, problem, m, policy, name: 'marlin', median_us: us * 1.28, q1_us: us, q3_us: us * 2, samples: 15 });
    [before, last] = [us, first];
  }
  if (stepped && !spec.bare && spec.runs > 3) {
    insert(database, 'change_point', { id: ++ids.changePoint, problem, m, policy, question: 'best_config', run: Math.floor(spec.runs / 2) + 1, ratio: problem % 2 === 0 ? 0.96 : 1.05, p_value: 0.0002 });
  }
}

/** The database of a spec, open; export() gives its bytes. */
export async function fixture(given: Spec = {}): Promise<Database> {
  const spec: Required<Spec> = {
    shapes: suiteShapes, tokens: [1, 8, 16, 32, 64, 128, 256, 482, 1024, 4096], policies: ['graph', 'graph+pdl'],
    runs: 8, candidates: 3, cardName: 'Test card, no real one', modelled: false, bare: false, ...given,
  };
  const database = await emptyDatabase();
  database.run('BEGIN');
  addCard(database, 1, spec.modelled ? 1 : 0);
  insert(database, 'toolchain', { id: 1, nvrtc: '13.0.88', driver: '13.0', template_digest: 'b7'.repeat(32) });
  addKernels(database);
  spec.shapes.forEach(([n, k], i) => insert(database, 'problem', { id: i + 1, kind: 'dense', layout: 1, n, k, act: 'bf16', arch: 'sm_90a', experts: 0 }));
  for (let run = 1; run <= spec.runs; ++run) addRun(database, run, 1, spec.cardName);
  const ids = new Counters();
  const chance = random(7);
  spec.shapes.forEach((_, i) => {
    for (const m of spec.tokens) for (const policy of spec.policies) addSeries(database, spec, ids, i + 1, m, policy, chance);
  });
  database.run('COMMIT');
  return database;
}
