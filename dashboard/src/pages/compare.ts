// SPDX-License-Identifier: Apache-2.0
// Two runs side by side, over what both measured and nothing else: an average over different sets of
// shapes says nothing. What only one of them has is counted.
import { type App, type View, openSeries, runById } from '../app.ts';
import type { Run } from '../data/dataset.ts';
import { type Series, modelled, pointIn } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { type Option, axis, drawChart, facts, ink, rule, upright } from '../parts/chart.ts';
import { empty, figure, panel, runOptions, select, shortRun } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { modelledMark, verdictMark, verdictRank } from '../parts/verdict.ts';
import { change, fixed, shown, us } from '../text.ts';
import { geometricMean } from './geometric_mean.ts';

interface Pair {
  readonly series: Series;
  readonly before: number;
  readonly after: number;
  readonly ratio: number;
  /** The stored verdict on best configs; empty where the pair was never judged. */
  readonly verdict: string;
}

interface Intersection {
  readonly pairs: Pair[];
  readonly onlyBefore: number;
  readonly onlyAfter: number;
}

function intersect(app: App, base: Run, run: Run): Intersection {
  const pairs: Pair[] = [];
  let [onlyBefore, onlyAfter] = [0, 0];
  for (const series of app.visible) {
    const [before, after] = [pointIn(app.data, series, base.id), pointIn(app.data, series, run.id)];
    if (before < 0 && after >= 0) ++onlyAfter;
    if (before >= 0 && after < 0) ++onlyBefore;
    if (before < 0 || after < 0) continue;
    const { median } = app.data.rows;
    const judged = app.verdicts.of(series, 'best_config').find((one) => one.base === base && one.run === run);
    pairs.push({ series, before, after, ratio: (median[after] as number) / (median[before] as number), verdict: judged?.verdict ?? '' });
  }
  return { pairs, onlyBefore, onlyAfter };
}

function chartOption(app: App, pairs: readonly Pair[]): Option {
  const sorted = pairs.toSorted((a, b) => a.ratio - b.ratio);
  const { median } = app.data.rows;
  return {
    tooltip: {
      trigger: 'item',
      formatter: (item: unknown) => {
        const pair = sorted[(item as { dataIndex: number }).dataIndex];
        return pair ? facts(`${shapeLabel(pair.series.problem)}, M = ${pair.series.m}`, [
          ['policy', shown(pair.series.policy, 16)], ['before', `${us(median[pair.before] as number)} µs`],
          ['after', `${us(median[pair.after] as number)} µs`], ['change', change(pair.ratio, 2)], ['verdict', shown(pair.verdict, 16)],
        ]) : '';
      },
    },
    xAxis: axis('series, from most faster to most slower', { type: 'category', data: sorted.map((_, i) => i + 1), axisLabel: { show: false }, splitLine: { show: false }, nameGap: 14 }),
    yAxis: upright('change of the median, %', { type: 'value' }),
    series: [{
      type: 'bar', barCategoryGap: sorted.length > 80 ? '0%' : '25%',
      data: sorted.map((pair) => ({ value: (pair.ratio - 1) * 100, row: pair.after, itemStyle: { color: ink(pair.ratio > 1 ? 'slower' : 'faster') } })),
      markLine: { symbol: 'none', silent: true, data: [rule({ yAxis: 0 }, '')] },
    }],
  } as unknown as Option;
}

function drawPairs(host: HTMLElement, app: App, pairs: readonly Pair[]): void {
  const { median, f } = app.data.rows;
  const at = (column: Float64Array, row: number): number => column[row] as number;
  drawTable(host, {
    name: 'compare', label: 'Both runs', noun: 'series', rows: pairs, sort: ['change', 'desc'],
    columns: [
      { key: 'shape', title: 'N × K', width: 150, value: (row) => shapeLabel(row.series.problem), show: (row) => el('span', { class: 'cell' }, shapeLabel(row.series.problem), modelled(row.series) && modelledMark()) },
      { key: 'm', title: 'M', right: true, width: 72, value: (row) => row.series.m },
      { key: 'act', title: 'Type', width: 72, value: (row) => shown(row.series.problem.act, 8) },
      { key: 'policy', title: 'Policy', width: 100, value: (row) => shown(row.series.policy, 16) },
      { key: 'us_before', title: 'Before, µs', right: true, width: 112, value: (row) => at(median, row.before), show: (row) => us(at(median, row.before)) },
      { key: 'us_after', title: 'After, µs', right: true, width: 104, value: (row) => at(median, row.after), show: (row) => us(at(median, row.after)) },
      { key: 'change', title: 'Change', right: true, width: 94, value: (row) => row.ratio, show: (row) => change(row.ratio) },
      { key: 'f_before', title: 'F before', right: true, width: 96, value: (row) => at(f, row.before), show: (row) => fixed(at(f, row.before), 3) },
      { key: 'f_after', title: 'F after', right: true, width: 88, value: (row) => at(f, row.after), show: (row) => fixed(at(f, row.after), 3) },
      { key: 'verdict', title: 'Verdict', value: (row) => row.verdict, order: (row) => verdictRank(row.verdict), show: (row) => (row.verdict === '' ? el('span', { class: 'cell quiet' }, 'not judged') : verdictMark(row.verdict)) },
    ],
    activate: (row) => openSeries(app, row.series),
  });
}

/** The two runs of the address, else the two newest of one card that share most. */
function runsOf(app: App): [Run, Run] | undefined {
  const run = runById(app, app.state.run);
  const base = runById(app, app.state.base);
  if (run && base) return [base, run];
  const judged = app.data.comparisons.at(-1);
  if (judged && !run && !base) return [judged.base, judged.run];
  const measured = new Set(app.visible.flatMap((series) => series.points.map((row) => app.data.rows.run[row] as number)));
  const runs = app.data.runs.filter((_, i) => measured.has(i));
  const after = run ?? runs.at(-1);
  const before = base ?? runs.findLast((one) => one !== after && one.device === after?.device);
  return after && before ? [before, after] : undefined;
}

function render(host: HTMLElement, app: App): void {
  const runs = runsOf(app);
  if (!runs) {
    host.append(empty('There are no two runs of one card', 'Record a second run, then hold it against the first.', 'nvfp4-tune bench --record'));
    return;
  }
  const [base, run] = runs;
  host.append(
    el(
      'div', { class: 'controls' }, select('Before', runOptions(app), String(base.id), (value) => app.go({ base: Number(value), run: run.id })),
      select('After', runOptions(app), String(run.id), (value) => app.go({ run: Number(value), base: base.id })),
    ),
  );
  if (base.device !== run.device) host.append(el('p', { class: 'warning' }, 'These runs are of different cards.'));
  const both = intersect(app, base, run);
  if (both.pairs.length === 0) {
    host.append(empty('The two runs share no series', `Only ${shortRun(base)}: ${both.onlyBefore}. Only ${shortRun(run)}: ${both.onlyAfter}. Choose runs that measured the same shapes, or clear a filter.`));
    return;
  }
  const mean = geometricMean(both.pairs.map((pair) => pair.ratio));
  host.append(
    el(
      'div', { class: 'figures' }, figure('geometric mean of the ratios', change(mean, 2), `over the ${both.pairs.length} series that both measured`),
      figure(`only in ${shortRun(base)}`, String(both.onlyBefore), 'left out'), figure(`only in ${shortRun(run)}`, String(both.onlyAfter), 'left out'),
    ),
  );
  const section = panel('');
  host.append(section);
  drawChart(section, { label: 'Change of every series, sorted; the table below has the numbers', height: 280, option: chartOption(app, both.pairs), click: (data) => app.explain((data as { row: number }).row) });
  const table = panel('');
  host.append(table);
  drawPairs(table, app, both.pairs);
  if (both.pairs.every((pair) => pair.verdict === '')) host.append(el('p', { class: 'note' }, 'A change of medians is no verdict: "nvfp4-tune compare" judges a pair of runs with its noise.'));
}

export const compare: View = { title: 'Two runs', about: 'Over what both measured; what only one has is counted and left out.', render };
