// SPDX-License-Identifier: Apache-2.0
// Reads every table once. What a row refers to must be there, or the row is skipped and counted.
import {
  type ChangePoint, type Comparison, type Dataset, type Device, type Kernel, type Problem, type Rival,
  type Rows, type Run, type Toolchain, emptyRows, rowOf,
} from './dataset.ts';
import { type Cell, type Column, type Tables, number, optional, text, word } from './tables.ts';

interface List<T> {
  /** In id order. */
  readonly list: T[];
  readonly skipped: number;
}

/** With each row's position by its id. */
interface Table<T> extends List<T> {
  readonly at: Map<number, number>;
}

function listed<T>(tables: Tables, name: string, columns: readonly Column[], make: (row: Cell[]) => T | undefined): List<T> {
  const list: T[] = [];
  const skipped = tables.scan(name, [number('id'), ...columns], (row) => {
    const made = make(row);
    if (made === undefined) return false;
    list.push(made);
    return true;
  });
  return { list, skipped };
}

function table<T extends { readonly id: number }>(...given: Parameters<typeof listed<T>>): Table<T> {
  const rows = listed<T>(...given);
  return { ...rows, at: new Map(rows.list.map(({ id }, i) => [id, i])) };
}

function find<T>(from: Table<T>, id: Cell | undefined): T | undefined {
  const position = from.at.get(id as number);
  return position === undefined ? undefined : from.list[position];
}

function readDevices(tables: Tables): Table<Device> {
  const columns = [
    text('arch'), number('sm_count'), number('l2_bytes'), number('smem_per_block'),
    number('bandwidth_class'), number('emulated'),
  ];
  return table(tables, 'device', columns, ([id, arch, smCount, l2, smem, bandwidth, emulated]) => ({
    id: id as number, arch: arch as string, smCount: smCount as number, l2Bytes: l2 as number,
    smemPerBlock: smem as number, bandwidthClass: bandwidth as number, emulated: emulated !== 0,
    name: arch as string,
  }));
}

function readProblems(tables: Tables): Table<Problem> {
  const columns = [text('kind'), number('n'), number('k'), text('act'), text('arch'), number('experts', 0)];
  return table(tables, 'problem', columns, (row) => {
    const [id, kind, n, k, act, arch, experts] = row as [number, string, number, number, string, string, number];
    return { id, kind, n, k, act, arch, experts, shape: experts > 0 ? `${n}x${k}x${experts}` : `${n}x${k}` };
  });
}

function readKernels(tables: Tables): Table<Kernel> {
  const columns = [text('config'), text('code_hash'), number('registers'), number('spill_bytes'), number('smem_bytes')];
  return table(tables, 'kernel', columns, (row) => {
    const [id, config, codeHash, registers, spillBytes, smemBytes] = row as [number, string, string, number, number, number];
    return { id, config, codeHash, registers, spillBytes, smemBytes };
  });
}

function readRuns(tables: Tables, devices: Table<Device>): Table<Run> {
  const toolchains = table(
    tables, 'toolchain', [text('nvrtc'), text('driver'), text('template_digest')],
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
  return table(tables, 'run', columns, (row): Run | undefined => {
    const device = find(devices, row[1]);
    const toolchain = find(toolchains, row[2]);
    if (!device || !toolchain) return undefined;
    const [id, , , name, command, date, purpose, commit, driverRelease, streamGbps, tensorTflops] = row as
      [number, number, number, string, string, string, string, string, string, number, number];
    device.name = name || device.arch;
    return { id, device, toolchain, command, date, purpose, commit, driverRelease, streamGbps, tensorTflops };
  });
}

// The texts that the program writes; what else stands in a file is read too.
const knownWords = [
  'ok', 'graph', 'graph+pdl', 'eager', 'measured', 'modelled', 'constraint', 'compile_error', 'compile_timeout', 'spill',
  'load_failed', 'launch_error', 'fault', 'hang', 'wrong', 'nondeterministic', 'out_of_bounds', 'too_noisy',
];

const comparedWords = [
  'graph', 'graph+pdl', 'eager', 'same_config', 'best_config', 'unchanged', 'same', 'faster', 'slower', 'ambiguous', 'broken', 'added', 'missing',
];

const eagerColumns = [
  number('id'), number('run'), number('kernel'), number('problem'), number('m'), word('policy', knownWords),
  word('provenance', knownWords), word('verdict', knownWords), number('median_us'), number('samples'), number('f'),
];

// What only some pages need is read when the first of them does.
const lazyColumns = {
  q1: number('q1_us'), q3: number('q3_us'), gbps: number('gbps'), percent: number('pct_ceiling'), tflops: number('tflops'),
  clock: number('clock_mhz'), throttled: number('throttled'), launch: number('launch_us', 0), temperature: number('temperature_c', 0),
} as const;

/** Texts that repeat, as small numbers. */
class Words {
  readonly list: string[] = [...knownWords];
  private readonly at = new Map<string, number>(knownWords.map((known, i) => [known, i]));

  /** -1 where there are more words than any file of ours has. */
  index(word: Cell | undefined): number {
    if (typeof word === 'number') return word;
    const known = this.at.get(word ?? '');
    if (known !== undefined) return known;
    if (typeof word !== 'string' || this.list.length === 0xffff) return -1;
    this.at.set(word, this.list.length);
    return this.list.push(word) - 1;
  }
}

function readColumn(tables: Tables, rows: Rows, column: Column): Float64Array {
  const values = new Float64Array(rows.count);
  let next = 0;
  tables.scan('measurement', [number('id'), column], (row) => {
    // Rows that were unusable before, or are now, must not move the others.
    while (next < rows.count && (rows.id[next] as number) < (row[0] as number)) ++next;
    if (row[0] !== rows.id[next]) return false;
    values[next++] = row[1] as number;
    return true;
  });
  return values;
}

function addLazyColumns(tables: Tables, rows: Rows): void {
  for (const [name, column] of Object.entries(lazyColumns)) {
    Object.defineProperty(rows, name, {
      configurable: true,
      get() {
        const value = readColumn(tables, rows, column);
        Object.defineProperty(rows, name, { value });
        return value;
      },
    });
  }
}

/** Positions by id as an array where ids are dense, as those of our own files are. */
function positions<T>({ at, list }: Table<T>): (id: number) => number {
  const ids = [...at.keys()];
  const most = ids.reduce((a, b) => Math.max(a, b), 0);
  if (most > 4 * list.length + 1000) return (id) => at.get(id) ?? -1;
  const dense = new Int32Array(most + 1).fill(-1);
  for (const [id, position] of at) dense[id] = position;
  return (id) => dense[id] ?? -1;
}

function readMeasurements(
  tables: Tables, runs: Table<Run>, kernels: Table<Kernel>, problems: Table<Problem>, words: Words,
): { rows: Rows; skipped: number } {
  const rows = emptyRows(tables.mostRows('measurement'));
  const { id, run, kernel, problem, m, policy, provenance, verdict, median, samples, f } = rows;
  const [runAt, kernelAt, problemAt] = [positions(runs), positions(kernels), positions(problems)];
  let i = 0;
  const skipped = tables.scan('measurement', eagerColumns, (row) => {
    const [r, k, p] = [runAt(row[1] as number), kernelAt(row[2] as number), problemAt(row[3] as number)];
    const [pol, prov, verd] = [words.index(row[5]), words.index(row[6]), words.index(row[7])];
    if (r < 0 || k < 0 || p < 0 || pol < 0 || prov < 0 || verd < 0 || i === id.length) return false;
    if (verd === 0 && !((row[8] as number) > 0)) return false;
    id[i] = row[0] as number;
    run[i] = r;
    kernel[i] = k;
    problem[i] = p;
    m[i] = row[4] as number;
    policy[i] = pol;
    provenance[i] = prov;
    verdict[i] = verd;
    median[i] = row[8] as number;
    samples[i] = row[9] as number;
    f[i] = row[10] as number;
    ++i;
    return true;
  });
  rows.count = i;
  addLazyColumns(tables, rows);
  return { rows, skipped };
}

function readComparisons(tables: Tables, runs: Table<Run>, problems: Table<Problem>, rows: Rows): List<Comparison> {
  const columns = [
    number('base_run'), number('run'), number('problem'), number('m'), word('policy', comparedWords), word('question', comparedWords),
    word('verdict', comparedWords), text('reason'), optional(number('base_measurement')), optional(number('measurement')),
    number('ratio'), number('ratio_lo'), number('ratio_hi'), number('cycles_ratio'),
  ];
  return listed(tables, 'comparison', columns, (row): Comparison | undefined => {
    const [base, run, problem] = [find(runs, row[1]), find(runs, row[2]), find(problems, row[3])];
    if (!base || !run || !problem) return undefined;
    const said = (at: number): string => (typeof row[at] === 'number' ? (comparedWords[row[at]] ?? '') : (row[at] as string));
    const position = (id: Cell | undefined): number => (typeof id === 'number' ? rowOf(rows, id) : -1);
    return {
      base, run, problem, m: row[4] as number, policy: said(5), question: said(6), verdict: said(7), reason: row[8] as string,
      before: position(row[9]), after: position(row[10]),
      ratio: row[11] as number, low: row[12] as number, high: row[13] as number, cycles: row[14] as number,
    };
  });
}

function readChangePoints(tables: Tables, runs: Table<Run>, problems: Table<Problem>): List<ChangePoint> {
  const columns = [
    number('problem'), number('m'), text('policy'), text('question'), number('run'), number('ratio'), number('p_value'),
  ];
  return listed(tables, 'change_point', columns, (row): ChangePoint | undefined => {
    const [problem, run] = [find(problems, row[1]), find(runs, row[5])];
    if (!problem || !run) return undefined;
    const [m, policy, question] = row.slice(2, 5) as [number, string, string];
    return { problem, run, m, policy, question, ratio: row[6] as number, p: row[7] as number };
  });
}

function readRivals(tables: Tables, runs: Table<Run>, problems: Table<Problem>): List<Rival> {
  const columns = [
    number('run'), number('problem'), number('m'), text('policy'), text('name'), number('median_us'),
    number('q1_us'), number('q3_us'), number('samples'),
  ];
  return listed(tables, 'rival', columns, (row): Rival | undefined => {
    const [run, problem] = [find(runs, row[1]), find(problems, row[2])];
    if (!run || !problem) return undefined;
    const [m, policy, name, median, q1, q3, samples] = row.slice(3) as [number, string, string, number, number, number, number];
    return { run, problem, m, policy, name, median, q1, q3, samples };
  });
}

/** Throws what SQLite throws on a damaged file. The tables must stay open for textOf(). */
export function load(tables: Tables, name: string): Dataset {
  const devices = readDevices(tables);
  const problems = readProblems(tables);
  const kernels = readKernels(tables);
  const runs = readRuns(tables, devices);
  const words = new Words();
  const { rows, skipped } = readMeasurements(tables, runs, kernels, problems, words);
  const comparisons = readComparisons(tables, runs, problems, rows);
  const changePoints = readChangePoints(tables, runs, problems);
  const rivals = readRivals(tables, runs, problems);
  const read = [devices, problems, kernels, runs, comparisons, changePoints, rivals];
  return {
    name, size: tables.size, version: tables.version, devices: devices.list, problems: problems.list, kernels: kernels.list,
    runs: runs.list, rows, words: words.list, comparisons: comparisons.list,
    changePoints: changePoints.list, rivals: rivals.list,
    skipped: read.reduce((sum, each) => sum + each.skipped, skipped),
    textOf: (row) => tables.textOf('measurement', 'text', rows.id[row] ?? -1),
  };
}
