// SPDX-License-Identifier: Apache-2.0
// The database as the pages see it: small tables as objects, measurements as columns of numbers, so
// that 200,000 of them load, filter and sort within a blink.

export interface Device {
  readonly id: number;
  readonly arch: string;
  readonly smCount: number;
  readonly l2Bytes: number;
  readonly smemPerBlock: number;
  readonly bandwidthClass: number;
  readonly emulated: boolean;
  /** The newest run's name of it; the physical facts are the card. */
  name: string;
}

export interface Toolchain {
  readonly id: number;
  readonly nvrtc: string;
  readonly driver: string;
  readonly templateDigest: string;
}

export interface Problem {
  readonly id: number;
  readonly kind: string;
  readonly n: number;
  readonly k: number;
  readonly act: string;
  readonly arch: string;
  readonly experts: number;
  /** "4096x4096", or "4096x4096x8" with experts: the shape's name in addresses and filters. */
  readonly shape: string;
}

export interface Kernel {
  readonly id: number;
  readonly config: string;
  readonly codeHash: string;
  readonly registers: number;
  readonly spillBytes: number;
  readonly smemBytes: number;
}

export interface Run {
  readonly id: number;
  readonly device: Device;
  readonly toolchain: Toolchain;
  readonly command: string;
  readonly date: string;
  readonly purpose: string;
  readonly commit: string;
  readonly driverRelease: string;
  readonly streamGbps: number;
  readonly tensorTflops: number;
}

/** Columns of the table measurement; position i of each is one row, in id order. */
export interface Rows {
  count: number;
  id: Float64Array;
  run: Uint32Array; // position in Dataset.runs, as kernel and problem are in theirs
  kernel: Uint32Array;
  problem: Uint32Array;
  m: Float64Array;
  policy: Uint16Array; // position in Dataset.words, as provenance and verdict are
  provenance: Uint16Array;
  verdict: Uint16Array;
  median: Float64Array;
  samples: Uint32Array;
  f: Float64Array;
  readonly q1: Float64Array;
  readonly q3: Float64Array;
  readonly gbps: Float64Array;
  readonly percent: Float64Array;
  readonly tflops: Float64Array;
  readonly clock: Float64Array;
  readonly throttled: Float64Array;
  readonly launch: Float64Array;
  readonly temperature: Float64Array;
}

/** One stored verdict between two runs. Rows are positions in Rows, -1 for none. */
export interface Comparison {
  readonly base: Run;
  readonly run: Run;
  readonly problem: Problem;
  readonly m: number;
  readonly policy: string;
  readonly question: string;
  readonly verdict: string;
  readonly reason: string;
  readonly before: number;
  readonly after: number;
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
  readonly cycles: number;
}

export interface ChangePoint {
  readonly run: Run;
  readonly problem: Problem;
  readonly m: number;
  readonly policy: string;
  readonly question: string;
  readonly ratio: number;
  readonly p: number;
}

export interface Rival {
  readonly run: Run;
  readonly problem: Problem;
  readonly m: number;
  readonly policy: string;
  readonly name: string;
  readonly median: number;
  readonly q1: number;
  readonly q3: number;
  readonly samples: number;
}

export interface Dataset {
  readonly name: string;
  readonly size: number;
  readonly version: number;
  readonly devices: Device[];
  readonly problems: Problem[];
  readonly kernels: Kernel[];
  readonly runs: Run[];
  readonly rows: Rows;
  readonly words: string[];
  readonly comparisons: Comparison[];
  readonly changePoints: ChangePoint[];
  readonly rivals: Rival[];
  /** Rows that could not be read, or that refer to one. */
  readonly skipped: number;
  /** The text of a row: why it failed, or what the gate covered. Not kept in memory. */
  textOf(row: number): string;
}

export function emptyRows(capacity: number): Rows {
  const real = (): Float64Array => new Float64Array(capacity);
  const word = (): Uint16Array => new Uint16Array(capacity);
  const index = (): Uint32Array => new Uint32Array(capacity);
  const none = new Float64Array(0);
  return {
    count: 0, id: real(), run: index(), kernel: index(), problem: index(), m: real(),
    policy: word(), provenance: word(), verdict: word(),
    median: real(), samples: index(), f: real(),
    q1: none, q3: none, gbps: none, percent: none, tflops: none, clock: none, throttled: none, launch: none, temperature: none,
  };
}

/** Position of the row with this id, or -1. Ids ascend. */
export function rowOf(rows: Rows, id: number): number {
  let [low, high] = [0, rows.count - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = rows.id[middle] ?? 0;
    if (found === id) return middle;
    if (found < id) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}
