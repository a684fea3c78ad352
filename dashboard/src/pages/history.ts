// SPDX-License-Identifier: Apache-2.0
// The history of one series: the best kernel of each run with its quartiles, beside it the config of
// the newest run wherever that one was measured, and the change points that the program found.
import { type App, type View, openSeries, runOf } from '../app.ts';
import type { ChangePoint } from '../data/dataset.ts';
import type { Series } from '../data/series.ts';
import { configSummary } from '../config.ts';
import { button, el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { type Option, axis, drawChart, facts, hues, ink, rule, upright } from '../parts/chart.ts';
import { empty, figure, panel, shortRun } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { change, date, fixed, integer, shown, us } from '../text.ts';
import { pickSeries } from './series_picker.ts';

interface Point {
  readonly row: number;
  readonly label: string;
  readonly config: string;
}

function pointsOf(app: App, series: Series): Point[] {
  const { rows, kernels } = app.data;
  return series.points.map((row) => ({ row, label: shortRun(runOf(app, row)), config: kernels[rows.kernel[row] as number]?.config ?? '' }));
}

/** The newest config's best row in each run, where it was measured. */
function sameConfig(app: App, series: Series, points: readonly Point[]): (number | undefined)[] {
  const { rows, words } = app.data;
  const kernels = app.data.kernels;
  const config = points.at(-1)?.config;
  const byRun = new Map<number, number>();
  for (const row of series.rows) {
    if (words[rows.verdict[row] as number] === 'ok' && kernels[rows.kernel[row] as number]?.config === config) {
      byRun.set(rows.run[row] as number, row);
    }
  }
  return points.map((point) => byRun.get(rows.run[point.row] as number));
}

function changePointsOf(app: App, series: Series): ChangePoint[] {
  return app.data.changePoints.filter(
    (one) => one.problem === series.problem && one.m === series.m && one.policy === series.policy && one.run.device === series.device,
  );
}

function tip(app: App, point: Point): HTMLElement {
  const { rows } = app.data;
  const run = runOf(app, point.row);
  const value = (column: Float64Array): number => column[point.row] as number;
  return facts(`${us(value(rows.median))} µs`, [
    ['quartiles', `${us(value(rows.q1))} – ${us(value(rows.q3))}`],
    ['config', shown(point.config, 200)],
    ['run', `#${run.id} ${shown(run.commit, 12)}`],
    ['date', date(run.date)],
    ['driver', shown(run.driverRelease || run.toolchain.driver, 20)],
    ['NVRTC', shown(run.toolchain.nvrtc, 20)],
    ['clock', `${fixed(value(rows.clock), 0)} MHz${rows.throttled[point.row] ? ', throttled' : ''}`],
    ['samples', integer(rows.samples[point.row] as number)],
  ]);
}

// Points whose config differs from the one before are drawn as diamonds.
function bestLine(app: App, points: readonly Point[], color: string, marks: readonly object[]): object {
  return {
    name: 'best config', type: 'line', symbolSize: 8, lineStyle: { width: 2 }, itemStyle: { color }, z: 5,
    data: points.map((point, i) => {
      const moved = i > 0 && points[i - 1]?.config !== point.config;
      return { value: app.data.rows.median[point.row], row: point.row, symbol: moved ? 'diamond' : 'circle', symbolSize: moved ? 12 : 7 };
    }),
    markLine: { symbol: 'none', silent: true, data: marks },
  };
}

function band(app: App, points: readonly Point[], color: string): object[] {
  const { rows } = app.data;
  const hidden = { type: 'line', stack: 'quartiles', symbol: 'none', lineStyle: { opacity: 0 }, silent: true, tooltip: { show: false } };
  const [q1, q3] = [(p: Point) => rows.q1[p.row] as number, (p: Point) => rows.q3[p.row] as number];
  return [
    { ...hidden, data: points.map(q1) },
    { ...hidden, name: 'quartiles', data: points.map((p) => q3(p) - q1(p)), areaStyle: { color, opacity: 0.18 }, itemStyle: { color, opacity: 0.4 } },
  ];
}

function option(app: App, series: Series, points: readonly Point[], found: readonly ChangePoint[]): Option {
  const [first, second] = hues();
  const { rows } = app.data;
  const same = sameConfig(app, series, points);
  const labels = points.map((point) => point.label);
  const marks = found.flatMap((one) => {
    const at = points.findIndex((point) => runOf(app, point.row) === one.run);
    return at < 0 ? [] : [rule({ xAxis: at }, change(one.ratio), ink(one.ratio > 1 ? 'slower' : 'faster'))];
  });
  const drawn = {
    tooltip: {
      trigger: 'axis',
      formatter: (items: unknown) => {
        const at = (items as { dataIndex: number }[])[0]?.dataIndex ?? 0;
        return points[at] ? tip(app, points[at]) : '';
      },
    },
    legend: { top: 4, left: 8, itemWidth: 14, itemHeight: 8, itemGap: 16, textStyle: { color: ink('muted'), fontSize: 12 }, data: ['best config', 'quartiles', 'the newest config'] },
    grid: { left: 8, right: 40, top: 68, bottom: 8, containLabel: true },
    xAxis: axis('', { type: 'category', data: labels, boundaryGap: points.length < 3, splitLine: { show: false } }),
    yAxis: upright('µs', { type: 'value', scale: true }),
    dataZoom: points.length > 60 ? [{ type: 'inside' }] : [],
    series: [
      ...band(app, points, first ?? ''),
      bestLine(app, points, first ?? '', marks),
      {
        name: 'the newest config', type: 'line', symbol: 'emptyCircle', symbolSize: 6, connectNulls: true, itemStyle: { color: second },
        lineStyle: { width: 1.5, type: 'dashed' }, data: same.map((row) => (row === undefined ? null : { value: rows.median[row], row })),
      },
    ],
  };
  return drawn as unknown as Option;
}

function drawChangePoints(app: App, series: Series, found: readonly ChangePoint[]): HTMLElement {
  const row = (one: ChangePoint): HTMLElement =>
    el(
      'li', {}, el('strong', { class: one.ratio > 1 ? 'slower' : 'faster' }, change(one.ratio)), ` from ${shortRun(one.run)} `,
      el('span', { class: 'quiet' }, `${one.question === 'same_config' ? 'same config' : 'best config'}, p = ${one.p.toPrecision(2)}`),
      button('What differs', () => app.go({ page: 'config', run: one.run.id, base: undefined, series: app.state.series })),
    );
  return panel('Change points', el('ul', { class: 'change-points' }, ...found.map(row)),
    el('p', { class: 'note' }, `Found by the program over the whole history of ${shapeLabel(series.problem)}; the page only draws them.`));
}

function drawRuns(host: HTMLElement, app: App, points: readonly Point[]): void {
  const { rows } = app.data;
  const at = (column: Float64Array) => (point: Point): number => column[point.row] as number;
  const run = (point: Point) => runOf(app, point.row);
  drawTable(host, {
    name: 'history', label: 'The runs of this series', noun: 'run', rows: points.toReversed(), height: 420,
    columns: [
      { key: 'run', title: 'Run', right: true, width: 66, value: (p) => run(p).id },
      { key: 'commit', title: 'Commit', width: 110, value: (p) => shown(run(p).commit, 16), show: (p) => el('code', {}, shown(run(p).commit, 12) || '–') },
      { key: 'date', title: 'Date', width: 146, value: (p) => run(p).date, show: (p) => date(run(p).date) },
      { key: 'us', title: 'µs', right: true, width: 88, value: at(rows.median), show: (p) => us(at(rows.median)(p)) },
      { key: 'us_q1', title: 'q1', right: true, width: 80, value: at(rows.q1), show: (p) => us(at(rows.q1)(p)) },
      { key: 'us_q3', title: 'q3', right: true, width: 80, value: at(rows.q3), show: (p) => us(at(rows.q3)(p)) },
      { key: 'f', title: 'F', right: true, width: 66, value: at(rows.f), show: (p) => fixed(at(rows.f)(p), 3) },
      { key: 'clock_mhz', title: 'MHz', right: true, width: 72, value: at(rows.clock), show: (p) => fixed(at(rows.clock)(p), 0) },
      { key: 'config', title: 'Config', grow: 3, value: (p) => p.config, show: (p) => el('span', { class: 'cell', title: shown(p.config, 300) }, configSummary(p.config) || shown(p.config)) },
    ],
    activate: (p) => app.explain(p.row),
  });
}

function render(host: HTMLElement, app: App): void {
  const series = pickSeries(host, app);
  if (!series) return;
  const points = pointsOf(app, series);
  const last = points.at(-1);
  if (!last) {
    host.append(empty('No candidate of this series came to a time', 'The search space says why each one failed.'), button('Search space', () => openSeries(app, series, 'search')));
    return;
  }
  const found = changePointsOf(app, series);
  const { rows } = app.data;
  host.append(
    el(
      'div', { class: 'figures' }, figure('newest', `${us(rows.median[last.row] as number)} µs`, shortRun(runOf(app, last.row))),
      figure('F', fixed(rows.f[last.row] as number, 3)), figure('runs', integer(points.length)), figure('change points', integer(found.length)),
      figure('config', configSummary(last.config) || '–'),
    ),
  );
  const section = panel('');
  host.append(section);
  drawChart(section, {
    label: `Microseconds of ${shapeLabel(series.problem)}, M = ${series.m}, over ${points.length} runs; the table below has the numbers`,
    height: 380, option: option(app, series, points, found),
    click: (data) => {
      const row = (data as { row?: number } | undefined)?.row;
      if (row !== undefined) app.explain(row);
    },
  });
  if (points.length === 1) section.append(el('p', { class: 'note' }, 'One run so far. "nvfp4-tune bench --record" adds one whenever it is run.'));
  if (found.length > 0) host.append(drawChangePoints(app, series, found));
  const table = panel('Runs');
  host.append(table);
  drawRuns(table, app, points);
}

export const history: View = { title: 'History', about: 'One series through all runs, with what changed when.', render };
