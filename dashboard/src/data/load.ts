// SPDX-License-Identifier: Apache-2.0
// Reads every table once. What a row refers to must be there, or the row is skipped and counted.
import type { Database } from 'sql.js';
import {
  type ChangePoint, type Comparison, type Dataset, type Device, type Kernel, type Problem, type Rival,
  type Rows, type Run, type Toolchain, emptyRows, rowOf,
} from './dataset.ts';
import { type Cell, type Column, number, optional, scan, text } from './reader.ts';

/** A table by id, in id order, and each row's position in that order. */
interface Table<T> {
  readonly list: T[];
  readonly at: Map<number, number>;
  readonly skipped: number;
}

function table<T>(
  database: Database,
  name: string,
  columns: readonly Column[],
  make: (row: Cell[]) => T | undefined,
): Table<T> {
  const list: T[] = [];
  const at = new Map<number, number>();
  const skipped = scan(database, name, [number('id'), ...columns], (row) => {
    const made = make(row);
    if (made === undefined) return false;
    at.set(row[0] as number, list.length);
    list.push(made);
    return true;
  });
  return { list, at, skipped };
}

function find<T>(from: Table<T>, id: Cell | undefined): T | undefined {
  const position = from.at.get(id as number);
  return position === undefined ? undefined : from.list[position];
}

function readDevices(database: Database): Table<Device> {
  const columns = [
    text('arch'), number('sm_count'), number('l2_bytes'), number('smem_per_block'),
    number('bandwidth_class'), number('emulated'),
  ];
  return table(database, 'device', columns, ([id, arch, smCount, l2, smem, bandwidth, emulated]) => ({
    id: id as number, arch: arch as string, smCount: smCount as number, l2Bytes: l2 as number,
    smemPerBlock: smem as number, bandwidthClass: bandwidth as number, emulated: emulated !== 0,
    name: arch as string,
  }));
}

function readProblems(database: Database): Table<Problem> {
  const columns = [text('kind'), number('n'), number('k'), text('act'), text('arch'), number('experts', 0)];
  return table(database, 'problem', columns, (row) => {
    const [id, kind, n, k, act, arch, experts] = row as [number, string, number, number, string, string, number];
    return { id, kind, n, k, act, arch, experts, shape: experts > 0 ? `${n}x${k}x${experts}` : `${n}x${k}` };
  });
}

function readKernels(database: Database): Table<Kernel> {
  const columns = [text('config'), text('code_hash'), number('registers'), number('spill_bytes'), number('smem_bytes')];
  return table(database, 'kernel', columns, (row) => {
    const [id, config, codeHash, registers, spillBytes, smemBytes] = row as [number, string, string, number, number, number];
    return { id, config, codeHash, registers, spillBytes, smemBytes };
  });
}

function readRuns(database: Database, devices: Table<Device>): Table<Run> {
  const toolchains = table(
    database, 'toolchain', [text('nvrtc'), text('driver'), text('template_digest')],
    (row): Toolchain => {
      const [id, nvrtc, driver, templateDigest] = row as [number, string, string, string];
      return { id, nvrtc, driver, templateDigest };
    },
  );
  const columns = [
    number('device'), number('toolchain'), text('device_name'), text('command'), text('date'),
    text('purpose', 'tune'), text('source_commit', ''), text('driver_release', ''),
    number('stream_gbps', 0), number('tensor_tflops', 0),
  ];
  return table(database, 'run', columns, (row): Run | undefined => {
    const device = find(devices, row[1]);
    const toolchain = find(toolchains, row[2]);
    if (!device || !toolchain) return undefined;
    const [id, , , name, command, date, purpose, commit, driverRelease, streamGbps, tensorTflops] = row as
      [number, number, number, string, string, string, string, string, string, number, number];
    device.name = name || device.arch;
    return { id, device, toolchain, command, date, purpose, commit, driverRelease, streamGbps, tensorTflops };
  });
}

const measurementColumns = [
  number('id'), number('run'), number('kernel'), number('problem'), number('m'), text('policy'),
  text('provenance'), text('verdict'), number('median_us'), number('q1_us'), number('q3_us'),
  number('samples'), number('gbps'), number('pct_ceiling'), number('tflops'), number('f'),
  number('clock_mhz'), number('throttled'), number('launch_us', 0), number('temperature_c', 0),
];

/** Texts that repeat, as small numbers. */
class Words {
  readonly list: string[] = [];
  private readonly at = new Map<string, number>();

  index(word: string): number | undefined {
    const known = this.at.get(word);
    if (known !== undefined) return known;
    if (this.list.length === 0xffff) return undefined;
    this.at.set(word, this.list.length);
    return this.list.push(word) - 1;
  }
}

function readMeasurements(
  database: Database, runs: Table<Run>, kernels: Table<Kernel>, problems: Table<Problem>, words: Words,
): { rows: Rows; skipped: number } {
  const capacity = Number(database.exec('SELECT count(*) FROM measurement')[0]?.values[0]?.[0] ?? 0);
  const rows = emptyRows(capacity);
  const skipped = scan(database, 'measurement', measurementColumns, (row) => {
    const i = rows.count;
    const run = runs.at.get(row[1] as number);
    const kernel = kernels.at.get(row[2] as number);
    const problem = problems.at.get(row[3] as number);
    const policy = words.index(row[5] as string);
    const provenance = words.index(row[6] as string);
    const verdict = words.index(row[7] as string);
    if (run === undefined || kernel === undefined || problem === undefined) return false;
    if (policy === undefined || provenance === undefined || verdict === undefined) return false;
    if (row[7] === 'ok' && !((row[8] as number) > 0)) return false;
    rows.id[i] = row[0] as number;
    rows.run[i] = run;
    rows.kernel[i] = kernel;
    rows.problem[i] = problem;
    rows.m[i] = row[4] as number;
    rows.policy[i] = policy;
    rows.provenance[i] = provenance;
    rows.verdict[i] = verdict;
    rows.median[i] = row[8] as number;
    rows.q1[i] = row[9] as number;
    rows.q3[i] = row[10] as number;
    rows.samples[i] = row[11] as number;
    rows.gbps[i] = row[12] as number;
    rows.percent[i] = row[13] as number;
    rows.tflops[i] = row[14] as number;
    rows.f[i] = row[15] as number;
    rows.clock[i] = row[16] as number;
    rows.throttled[i] = row[17] as number;
    rows.launch[i] = row[18] as number;
    rows.temperature[i] = row[19] as number;
    rows.count = i + 1;
    return true;
  });
  return { rows, skipped };
}

function readComparisons(database: Database, runs: Table<Run>, problems: Table<Problem>, rows: Rows): Table<Comparison> {
  const columns = [
    number('base_run'), number('run'), number('problem'), number('m'), text('policy'), text('question'),
    text('verdict'), text('reason'), optional(number('base_measurement')), optional(number('measurement')),
    number('ratio'), number('ratio_lo'), number('ratio_hi'), number('cycles_ratio'),
  ];
  return table(database, 'comparison', columns, (row): Comparison | undefined => {
    const [base, run, problem] = [find(runs, row[1]), find(runs, row[2]), find(problems, row[3])];
    if (!base || !run || !problem) return undefined;
    const [m, policy, question, verdict, reason] = row.slice(4, 9) as [number, string, string, string, string];
    const [ratio, low, high, cycles] = row.slice(11) as [number, number, number, number];
    const position = (id: Cell | undefined): number => (typeof id === 'number' ? rowOf(rows, id) : -1);
    return {
      base, run, problem, m, policy, question, verdict, reason, ratio, low, high, cycles,
      before: position(row[9]), after: position(row[10]),
    };
  });
}

function readChangePoints(database: Database, runs: Table<Run>, problems: Table<Problem>): Table<ChangePoint> {
  const columns = [
    number('problem'), number('m'), text('policy'), text('question'), number('run'), number('ratio'), number('p_value'),
  ];
  return table(database, 'change_point', columns, (row): ChangePoint | undefined => {
    const [problem, run] = [find(problems, row[1]), find(runs, row[5])];
    if (!problem || !run) return undefined;
    const [m, policy, question] = row.slice(2, 5) as [number, string, string];
    return { problem, run, m, policy, question, ratio: row[6] as number, p: row[7] as number };
  });
}

function readRivals(database: Database, runs: Table<Run>, problems: Table<Problem>): Table<Rival> {
  const columns = [
    number('run'), number('problem'), number('m'), text('policy'), text('name'), number('median_us'),
    number('q1_us'), number('q3_us'), number('samples'),
  ];
  return table(database, 'rival', columns, (row): Rival | undefined => {
    const [run, problem] = [find(runs, row[1]), find(problems, row[2])];
    if (!run || !problem) return undefined;
    const [m, policy, name, median, q1, q3, samples] = row.slice(3) as [number, string, string, number, number, number, number];
    return { run, problem, m, policy, name, median, q1, q3, samples };
  });
}

/** Throws what SQLite throws on a damaged file. The database must stay open for textOf(). */
export function load(database: Database, name: string, size: number): Dataset {
  const devices = readDevices(database);
  const problems = readProblems(database);
  const kernels = readKernels(database);
  const runs = readRuns(database, devices);
  const words = new Words();
  const { rows, skipped } = readMeasurements(database, runs, kernels, problems, words);
  const comparisons = readComparisons(database, runs, problems, rows);
  const changePoints = readChangePoints(database, runs, problems);
  const rivals = readRivals(database, runs, problems);
  const tables = [devices, problems, kernels, runs, comparisons, changePoints, rivals];
  const version = Number(database.exec('PRAGMA user_version')[0]?.values[0]?.[0]);
  const winners = Number(database.exec('SELECT count(*) FROM winner')[0]?.values[0]?.[0] ?? 0);
  return {
    name, size, version, devices: devices.list, problems: problems.list, kernels: kernels.list,
    runs: runs.list, rows, words: words.list, comparisons: comparisons.list,
    changePoints: changePoints.list, rivals: rivals.list, winners,
    skipped: tables.reduce((sum, each) => sum + each.skipped, skipped),
    textOf(row) {
      const found = database.exec('SELECT substr(text, 1, 2048) FROM measurement WHERE id = ?', [rows.id[row] ?? -1]);
      return String(found[0]?.values[0]?.[0] ?? '');
    },
  };
}
