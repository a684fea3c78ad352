// SPDX-License-Identifier: Apache-2.0
// What differs between two points of a series: the config, the compiled kernel, and the surroundings.
import { type App, type View, runOf } from '../app.ts';
import { configDiff, parseConfig } from '../config.ts';
import type { Run } from '../data/dataset.ts';
import { type Series, pointIn } from '../data/series.ts';
import { button, el } from '../dom.ts';
import { empty, figure, panel, runOptions, select, shortRun } from '../parts/controls.ts';
import { bytes, change, fixed, integer, shown, unknown, us } from '../text.ts';
import { pickSeries } from './series_picker.ts';

interface Line {
  readonly name: string;
  readonly meaning: string;
  readonly before: string;
  readonly after: string;
}

function runsOf(app: App, series: Series): Run[] {
  return series.points.map((row) => runOf(app, row));
}

/** The two runs of the address; else round the newest change point; else the last two. */
function pairOf(app: App, series: Series): [Run, Run] | undefined {
  const runs = runsOf(app, series);
  const step = app.data.changePoints.findLast((one) => one.problem === series.problem && one.m === series.m && one.policy === series.policy && runs.includes(one.run));
  const after = runs.find((run) => run.id === app.state.run) ?? (app.state.run === undefined ? step?.run : undefined) ?? runs.at(-1);
  if (!after) return undefined;
  const before = runs.find((run) => run.id === app.state.base && run !== after) ?? runs[runs.indexOf(after) - 1] ?? runs.find((run) => run !== after);
  return before && [before, after];
}

function configLines(app: App, before: number, after: number): Line[] | undefined {
  const config = (row: number) => parseConfig(app.data.kernels[app.data.rows.kernel[row] as number]?.config ?? '');
  const [b, a] = [config(before), config(after)];
  return b && a ? configDiff(b, a) : undefined;
}

function kernelLines(app: App, before: number, after: number): Line[] {
  const { rows, kernels } = app.data;
  const kernel = (row: number) => kernels[rows.kernel[row] as number];
  const line = (name: string, meaning: string, of: (row: number) => string): Line => ({ name, meaning, before: of(before), after: of(after) });
  return [
    line('machine code', 'hash of the compiled kernel', (row) => shown(kernel(row)?.codeHash.slice(0, 12) ?? '') || unknown),
    line('registers', 'a thread', (row) => integer(kernel(row)?.registers ?? 0)),
    line('shared memory', 'a CTA', (row) => bytes(kernel(row)?.smemBytes ?? 0)),
  ];
}

function surroundingLines(app: App, before: number, after: number): Line[] {
  const { rows } = app.data;
  const line = (name: string, meaning: string, of: (row: number) => string): Line => ({ name, meaning, before: of(before), after: of(after) });
  const run = (row: number): Run => runOf(app, row);
  return [
    line('commit', 'of the program', (row) => shown(run(row).commit, 16) || unknown),
    line('templates', 'digest of the kernels\u2019 source', (row) => shown(run(row).toolchain.templateDigest.slice(0, 12)) || unknown),
    line('NVRTC', '', (row) => shown(run(row).toolchain.nvrtc, 20)),
    line('driver', '', (row) => shown(run(row).driverRelease || run(row).toolchain.driver, 20)),
    line('SM clock', 'while timing', (row) => `${fixed(rows.clock[row] as number, 0)} MHz`),
    line('temperature', 'while timing', (row) => (rows.temperature[row] ? `${fixed(rows.temperature[row], 0)} °C` : unknown)),
    line('throttled', '', (row) => (rows.throttled[row] ? 'yes' : 'no')),
    line('read ceiling', 'of the run', (row) => (run(row).streamGbps > 0 ? `${fixed(run(row).streamGbps, 0)} GB/s` : unknown)),
    line('samples', '', (row) => integer(rows.samples[row] as number)),
  ];
}

function drawLines(title: string, lines: readonly Line[], heads: readonly [string, string]): HTMLElement {
  const differing = lines.filter((line) => line.before !== line.after).length;
  const rows = lines.map((line) =>
    el(
      'tr', { class: line.before !== line.after ? 'differs' : '' },
      el('th', { scope: 'row' }, line.name, line.meaning !== '' && el('span', { class: 'quiet' }, line.meaning)),
      el('td', {}, line.before), el('td', {}, line.after), el('td', { class: 'mark' }, line.before !== line.after && '≠'),
    ),
  );
  return panel(
    title, el('p', { class: 'note' }, differing === 0 ? 'nothing differs' : `${differing} of ${lines.length} differ`),
    el(
      'table', { class: 'diff' },
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'field'), el('th', { scope: 'col' }, heads[0]), el('th', { scope: 'col' }, heads[1]), el('th', { scope: 'col' }, el('span', { class: 'hidden' }, 'differs')))),
      el('tbody', {}, ...rows),
    ),
  );
}

function selects(app: App, series: Series): HTMLElement[] {
  const pair = pairOf(app, series);
  if (!pair) return [];
  const options = runOptions(app, runsOf(app, series));
  return [
    select('Before', options, String(pair[0].id), (value) => app.go({ base: Number(value), run: pair[1].id })),
    select('After', options, String(pair[1].id), (value) => app.go({ run: Number(value), base: pair[0].id })),
  ];
}

function render(host: HTMLElement, app: App): void {
  const series = pickSeries(host, app, (one) => selects(app, one));
  if (!series) return;
  const pair = pairOf(app, series);
  if (!pair) {
    host.append(empty('This series has fewer than two runs', 'A config can be held against another one once a second run is recorded.', 'nvfp4-tune bench --record'));
    return;
  }
  const [before, after] = [pointIn(app.data, series, pair[0].id), pointIn(app.data, series, pair[1].id)];
  const time = (row: number): number => app.data.rows.median[row] as number;
  host.append(
    el(
      'div', { class: 'figures' }, figure('before', `${us(time(before))} µs`, shortRun(pair[0])), figure('after', `${us(time(after))} µs`, shortRun(pair[1])),
      figure('change of the medians', change(time(after) / time(before)), 'no verdict: "What changed" has those'),
    ),
  );
  const heads = [shortRun(pair[0]), shortRun(pair[1])] as const;
  const config = configLines(app, before, after);
  host.append(
    config ? drawLines('Config', config, heads) : empty('One of the configs is not one that this page knows', 'Make the page again with the nvfp4-tune that wrote the database.'),
    drawLines('Compiled kernel', kernelLines(app, before, after), heads), drawLines('Surroundings', surroundingLines(app, before, after), heads),
    el('div', { class: 'actions' }, button('Everything before', () => app.explain(before)), button('Everything after', () => app.explain(after))),
  );
}

export const config: View = { title: 'Config diff', about: 'What differs between two runs of one series.', render };
