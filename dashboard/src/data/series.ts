// SPDX-License-Identifier: Apache-2.0
// A series is what one asks the history of: a problem at one M under one launch policy on one card,
// measured or modelled. Each run gives it at most one point: the best kernel of that run.
import type { Dataset, Device, Problem, Rows } from './dataset.ts';

export interface Series {
  readonly device: Device;
  readonly problem: Problem;
  readonly m: number;
  readonly policy: string;
  readonly provenance: string;
  /** Positions in Rows of every candidate, in id order. */
  readonly rows: number[];
  /** The best kernel of each run that has one, oldest run first. */
  readonly points: number[];
}

/** Names a series in addresses. */
export function seriesKey(series: Series): string {
  const { device, problem, m, policy, provenance } = series;
  return [device.id, problem.shape, problem.act, m, policy, provenance].join('~');
}

export const modelled = (series: Series): boolean => series.provenance !== 'measured';

function fastest(rows: Rows, candidates: Iterable<number>): number {
  let best = -1;
  for (const row of candidates) {
    if (best < 0 || (rows.median[row] as number) < (rows.median[best] as number)) best = row;
  }
  return best;
}

/** Of each run and config the row with most samples, then the fastest of the run: the tuner's ranking. */
function pointsOf(rows: Rows, all: number[], ok: number): number[] {
  const run = (row: number): number => rows.run[row] as number;
  // Runs that wrote at the same time lie interleaved.
  const inOrder = all.every((row, i) => i === 0 || run(all[i - 1] as number) <= run(row));
  const ordered = inOrder ? all : all.toSorted((a, b) => run(a) - run(b) || a - b);
  const points: number[] = [];
  const founded = new Map<number, number>(); // of the run at hand, by kernel
  ordered.forEach((row, i) => {
    if (rows.verdict[row] === ok) {
      const kernel = rows.kernel[row] as number;
      const known = founded.get(kernel);
      if (known === undefined || (rows.samples[row] as number) >= (rows.samples[known] as number)) founded.set(kernel, row);
    }
    const next = ordered[i + 1];
    if ((next === undefined || run(next) !== run(row)) && founded.size > 0) {
      points.push(fastest(rows, founded.values()));
      founded.clear();
    }
  });
  return points;
}

export function allSeries(data: Dataset): Series[] {
  const { rows, words } = data;
  const groups = new Map<number, Map<number, number[]>>();
  const devices = new Map(data.devices.map((device, i) => [device, i]));
  const deviceOf = data.runs.map((run) => devices.get(run.device) ?? 0);
  // Rows of one series mostly follow each other.
  let [lastWhere, lastM, last] = [-1, -1, [] as number[]];
  for (let i = 0; i < rows.count; ++i) {
    const where = (((rows.problem[i] as number) * 64 + (deviceOf[rows.run[i] as number] ?? 0)) * 65536 +
      (rows.policy[i] as number)) * 256 + (rows.provenance[i] as number);
    const m = rows.m[i] as number;
    if (where !== lastWhere || m !== lastM) {
      let byM = groups.get(where);
      if (!byM) groups.set(where, (byM = new Map()));
      let members = byM.get(m);
      if (!members) byM.set(m, (members = []));
      [lastWhere, lastM, last] = [where, m, members];
    }
    last.push(i);
  }
  const ok = words.indexOf('ok');
  const list: Series[] = [];
  for (const byM of groups.values()) {
    for (const [m, members] of byM) {
      const first = members[0] as number;
      list.push({
        device: data.devices[deviceOf[rows.run[first] as number] ?? 0] as Device,
        problem: data.problems[rows.problem[first] as number] as Problem,
        m,
        policy: words[rows.policy[first] as number] ?? '',
        provenance: words[rows.provenance[first] as number] ?? '',
        rows: members,
        points: pointsOf(rows, members, ok),
      });
    }
  }
  return list.sort(bySeries);
}

export function byShape(a: Problem, b: Problem): number {
  return a.n * a.k - b.n * b.k || a.n - b.n || a.experts - b.experts || (a.act < b.act ? -1 : a.act > b.act ? 1 : 0);
}

function bySeries(a: Series, b: Series): number {
  return a.device.id - b.device.id || byShape(a.problem, b.problem) || a.m - b.m ||
    (a.policy < b.policy ? -1 : a.policy > b.policy ? 1 : 0) ||
    (a.provenance < b.provenance ? -1 : a.provenance > b.provenance ? 1 : 0);
}

/** The newest point, or -1. */
export const newest = (series: Series): number => series.points.at(-1) ?? -1;

/** The point of exactly this run, or -1. */
export function pointIn(data: Dataset, series: Series, run: number): number {
  return series.points.find((row) => data.runs[data.rows.run[row] as number]?.id === run) ?? -1;
}
