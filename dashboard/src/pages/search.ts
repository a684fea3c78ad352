// SPDX-License-Identifier: Apache-2.0
// Everything that was tried for one series: who won, by how much the others lost, and why some never
// came to a time.
import { type App, type View, runOf } from '../app.ts';
import { configFields, configSummary, parseConfig } from '../config.ts';
import type { Run } from '../data/dataset.ts';
import type { Series } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { type Option, axis, drawChart, facts, hues, ink, rule, symbols, upright } from '../parts/chart.ts';
import { empty, figure, panel, select } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { verdictMark } from '../parts/verdict.ts';
import { bytes, change, fixed, integer, counted, shown, us } from '../text.ts';
import { pickSeries } from './series_picker.ts';

interface Candidate {
  readonly row: number;
  readonly config: string;
  readonly verdict: string;
  readonly time: number;
  readonly why: string;
}

/** One candidate a config: the row with most samples of the runs that are looked at. */
function candidatesOf(app: App, series: Series, run: Run | undefined): Candidate[] {
  const { rows, kernels, words } = app.data;
  const latest = new Map<number, number>();
  for (const row of series.rows) {
    if (run && runOf(app, row) !== run) continue;
    const kernel = rows.kernel[row] as number;
    const known = latest.get(kernel);
    if (known === undefined || (rows.samples[row] as number) >= (rows.samples[known] as number)) latest.set(kernel, row);
  }
  const times = [...latest.values()].filter((row) => words[rows.verdict[row] as number] === 'ok').map((row) => rows.median[row] as number);
  const best = times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  return [...latest].map(([kernel, row]) => {
    const verdict = words[rows.verdict[row] as number] ?? '';
    const time = verdict === 'ok' ? (rows.median[row] as number) : 0;
    return { row, config: kernels[kernel]?.config ?? '', verdict, time, why: why(app, row, verdict, time, best) };
  });
}

function why(app: App, row: number, verdict: string, time: number, best: number): string {
  if (verdict !== 'ok') return shown(app.data.textOf(row), 400) || verdict.replaceAll('_', ' ');
  if (time === best) return 'the fastest';
  const { q1, q3 } = app.data.rows;
  const near = (q1[row] as number) <= best ? ', its lower quartile reaches the winner' : '';
  return `${change(time / best).replace('+', '')} slower${near}${(q3[row] as number) > time * 1.05 ? ', noisy' : ''}`;
}

const axes = configFields.filter((field) => field.kind === 'number').map((field) => ({ value: field.name, label: field.name }));

function option(app: App, candidates: readonly Candidate[], field: string): Option {
  const ok = candidates.filter((one) => one.verdict === 'ok').sort((a, b) => a.time - b.time);
  const best = ok[0]?.time ?? 0;
  const colors = hues();
  const families = [...new Set(ok.map((one) => parseConfig(one.config)?.get('family') ?? 'other'))].sort();
  const x = (one: Candidate, rank: number): number => (field === 'rank' ? rank + 1 : Number(parseConfig(one.config)?.get(field) ?? 0));
  const { rows, kernels } = app.data;
  return {
    tooltip: {
      trigger: 'item',
      formatter: (item: unknown) => {
        const { one } = (item as { data: { one: Candidate } }).data;
        const kernel = kernels[rows.kernel[one.row] as number];
        return facts(`${us(one.time)} µs`, [['config', shown(one.config, 200)], ['', one.why], ['registers', integer(kernel?.registers ?? 0)], ['shared memory', bytes(kernel?.smemBytes ?? 0)], ['samples', integer(rows.samples[one.row] as number)]]);
      },
    },
    xAxis: axis(field === 'rank' ? 'rank' : field, { type: 'value', scale: true, minInterval: 1, splitLine: { show: false } }),
    yAxis: upright('µs', { type: 'value', scale: true }),
    series: families.map((family, i) => ({
      name: family, type: 'scatter', symbol: symbols[i], symbolSize: 9, color: colors[i],
      data: ok.flatMap((one, rank) => ((parseConfig(one.config)?.get('family') ?? 'other') === family ? [{ value: [x(one, rank), one.time], one, row: one.row }] : [])),
      ...(i === 0 ? { markLine: { symbol: 'none', silent: true, data: [rule({ yAxis: best }, `winner ${us(best)} µs`, ink('accent'))] } } : {}),
    })),
  } as unknown as Option;
}

function drawCandidates(host: HTMLElement, app: App, candidates: readonly Candidate[]): void {
  const { rows, kernels } = app.data;
  const kernel = (one: Candidate) => kernels[rows.kernel[one.row] as number];
  const allowed = app.state.filters.verdict;
  drawTable(host, {
    name: 'candidates', label: 'All candidates', noun: 'candidate', sort: ['us', 'asc'],
    rows: candidates.filter((one) => allowed.length === 0 || allowed.includes(one.verdict)),
    columns: [
      { key: 'verdict', title: 'Verdict', width: 136, value: (one) => one.verdict, show: (one) => verdictMark(one.verdict) },
      { key: 'us', title: 'µs', right: true, width: 92, value: (one) => one.time, order: (one) => one.time || Number.MAX_VALUE, show: (one) => us(one.time) },
      { key: 'samples', title: 'Samples', right: true, width: 92, value: (one) => rows.samples[one.row] as number },
      { key: 'registers', title: 'Regs', right: true, width: 74, value: (one) => kernel(one)?.registers ?? 0, show: (one) => fixed(kernel(one)?.registers ?? 0, 0) },
      { key: 'smem', title: 'Shared', right: true, width: 92, value: (one) => kernel(one)?.smemBytes ?? 0, show: (one) => bytes(kernel(one)?.smemBytes ?? 0) },
      { key: 'config', title: 'Config', grow: 3, value: (one) => one.config, show: (one) => el('span', { class: 'cell', title: shown(one.config, 300) }, configSummary(one.config) || shown(one.config)) },
      { key: 'why', title: 'Why', grow: 4, value: (one) => one.why, show: (one) => el('span', { class: 'cell quiet', title: one.why }, one.why) },
    ],
    activate: (one) => app.explain(one.row),
  });
}

const runsOf = (app: App, series: Series): Run[] => [...new Set(series.rows.map((row) => runOf(app, row)))];

/** The run of the address, if the series is in it; undefined: all runs. */
const chosenRun = (app: App, series: Series): Run | undefined => runsOf(app, series).find((one) => one.id === app.state.run);

function selects(app: App, series: Series, field: string): HTMLElement[] {
  const runs = runsOf(app, series);
  const options = [{ value: '', label: `all ${runs.length}` }, ...runs.map((one) => ({ value: String(one.id), label: `#${one.id}` })).reverse()];
  return [
    select('Run', options, String(chosenRun(app, series)?.id ?? ''), (value) => app.go({ run: value === '' ? undefined : Number(value) })),
    select('Over', [{ value: 'rank', label: 'rank' }, ...axes], field, (value) => app.go({ show: value })),
  ];
}

function render(host: HTMLElement, app: App): void {
  const field = axes.find((one) => one.value === app.state.show)?.value ?? 'rank';
  const series = pickSeries(host, app, (one) => selects(app, one, field));
  if (!series) return;
  const candidates = candidatesOf(app, series, chosenRun(app, series));
  const ok = candidates.filter((one) => one.verdict === 'ok');
  const failures = new Map<string, number>();
  for (const one of candidates) if (one.verdict !== 'ok') failures.set(one.verdict, (failures.get(one.verdict) ?? 0) + 1);
  host.append(
    el(
      'div', { class: 'figures' }, figure('candidates', integer(candidates.length)), figure('with a time', integer(ok.length)),
      ...[...failures].sort((a, b) => b[1] - a[1]).map(([verdict, count]) => figure(shown(verdict.replaceAll('_', ' '), 24), integer(count), '', 'broken')),
    ),
  );
  if (ok.length > 0) {
    const section = panel('');
    host.append(section);
    drawChart(section, { label: `Times of ${counted(ok.length, 'candidate')} of ${shapeLabel(series.problem)}, M = ${series.m}; the table below has the numbers`, height: 340, option: option(app, candidates, field), click: (data) => app.explain((data as { row: number }).row) });
  } else {
    host.append(empty('No candidate came to a time', 'The table says why; "nvfp4-tune doctor" checks the machine.', 'nvfp4-tune doctor'));
  }
  const table = panel('');
  host.append(table);
  drawCandidates(table, app, candidates);
}

export const search: View = { title: 'Search space', about: 'Every candidate of one series, and why it lost.', render };
