// SPDX-License-Identifier: Apache-2.0
// Against what else could run: cuBLAS and other kernels, each timed on the same problem in the same run.
import { type App, type View, openSeries } from '../app.ts';
import type { Rival } from '../data/dataset.ts';
import { type Series, modelled, pointIn, seriesKey } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { type Option, drawChart, facts, hues, ink, powersOfTwo, rule, symbols, upright } from '../parts/chart.ts';
import { empty, figure, panel, select, shortRun } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { modelledMark } from '../parts/verdict.ts';
import { fixed, shown, us } from '../text.ts';
import { geometricMean } from './geometric_mean.ts';

/** One rival's newest time beside ours of the same run. */
interface Duel {
  readonly series: Series;
  readonly rival: Rival;
  readonly row: number;
  /** Above 1: we are faster. */
  readonly lead: number;
}

function duelsOf(app: App): Duel[] {
  const series = new Map(app.visible.map((one) => [`${one.device.id} ${one.problem.id} ${one.m} ${one.policy}`, one]));
  const newest = new Map<string, Duel>();
  for (const rival of app.data.rivals) {
    const one = series.get(`${rival.run.device.id} ${rival.problem.id} ${rival.m} ${rival.policy}`);
    const row = one ? pointIn(app.data, one, rival.run.id) : -1;
    if (!one || row < 0 || !(rival.median > 0)) continue;
    newest.set(`${rival.name} ${seriesKey(one)}`, { series: one, rival, row, lead: rival.median / (app.data.rows.median[row] as number) });
  }
  return [...newest.values()];
}

function option(app: App, duels: readonly Duel[], names: readonly string[]): Option {
  const colors = hues();
  return {
    tooltip: {
      trigger: 'item',
      formatter: (item: unknown) => {
        const { duel } = (item as { data: { duel: Duel } }).data;
        return facts(`${fixed(duel.lead, 2)} times as fast`, [
          ['shape', `${shapeLabel(duel.series.problem)}, M = ${duel.series.m}`], ['policy', shown(duel.series.policy, 16)],
          ['ours', `${us(app.data.rows.median[duel.row] as number)} µs`], [shown(duel.rival.name, 32), `${us(duel.rival.median)} µs`], ['run', shortRun(duel.rival.run)],
        ]);
      },
    },
    xAxis: powersOfTwo('tokens M', duels.map((duel) => Math.log2(duel.series.m)), 1),
    yAxis: upright('times as fast', { type: 'value', min: 0 }),
    series: names.map((name, i) => ({
      name: shown(name, 32), type: 'scatter', symbol: symbols[i % 8], symbolSize: 9, color: colors[i % 8],
      data: duels.filter((duel) => duel.rival.name === name).map((duel) => ({ value: [Math.log2(duel.series.m), duel.lead], duel, row: duel.row, itemStyle: { opacity: 0.8 } })),
      ...(i === 0 ? { markLine: { symbol: 'none', silent: true, data: [rule({ yAxis: 1 }, 'equal', ink('accent'))] } } : {}),
    })),
  } as unknown as Option;
}

function drawDuels(host: HTMLElement, app: App, duels: readonly Duel[]): void {
  const { median } = app.data.rows;
  drawTable(host, {
    name: 'rivals', label: 'Ours and others', noun: 'pair', rows: duels, sort: ['lead', 'asc'],
    columns: [
      { key: 'shape', title: 'N × K', width: 150, value: (row) => shapeLabel(row.series.problem), show: (row) => el('span', { class: 'cell' }, shapeLabel(row.series.problem), modelled(row.series) && modelledMark()) },
      { key: 'm', title: 'M', right: true, width: 80, value: (row) => row.series.m },
      { key: 'policy', title: 'Policy', value: (row) => shown(row.series.policy, 16) },
      { key: 'rival', title: 'Rival', grow: 2, value: (row) => row.rival.name, show: (row) => shown(row.rival.name, 48) },
      { key: 'us', title: 'Ours, µs', right: true, value: (row) => median[row.row] as number, show: (row) => us(median[row.row] as number) },
      { key: 'us_rival', title: 'Rival, µs', right: true, value: (row) => row.rival.median, show: (row) => us(row.rival.median) },
      { key: 'lead', title: 'Times as fast', right: true, value: (row) => row.lead, show: (row) => el('span', { class: row.lead < 1 ? 'cell slower' : 'cell' }, `${row.lead < 1 ? '▼ ' : ''}${fixed(row.lead, 2)}`) },
      { key: 'run', title: 'Run', right: true, width: 80, value: (row) => row.rival.run.id },
    ],
    activate: (row) => openSeries(app, row.series),
  });
}

function render(host: HTMLElement, app: App): void {
  const all = duelsOf(app);
  const names = [...new Set(all.map((duel) => duel.rival.name))].sort();
  if (names.length === 0) {
    host.append(
      empty(
        app.data.rivals.length === 0 ? 'No rival was timed in any run' : 'No rival passes the filters',
        'cuBLASLt\u2019s bf16 product is timed beside ours when a run asks for it.', 'nvfp4-tune bench --record --baseline cublas',
      ),
    );
    return;
  }
  const chosen = names.includes(app.state.show) ? [app.state.show] : names;
  const duels = all.filter((duel) => chosen.includes(duel.rival.name));
  const options = [{ value: '', label: 'all' }, ...names.map((name) => ({ value: name, label: shown(name, 48) }))];
  host.append(el('div', { class: 'controls' }, select('Rival', options, chosen.length === 1 ? (chosen[0] ?? '') : '', (value) => app.go({ show: value }))));
  host.append(
    el('div', { class: 'figures' }, ...chosen.slice(0, 5).map((name) => {
      const leads = duels.filter((duel) => duel.rival.name === name).map((duel) => duel.lead);
      const behind = leads.filter((lead) => lead < 1).length;
      return figure(shown(name, 32), `${fixed(geometricMean(leads), 2)}×`, `geometric mean over ${leads.length} pairs, behind in ${behind}`);
    })),
  );
  const section = panel('');
  host.append(section);
  drawChart(section, { label: 'How many times as fast over M; the table below has the numbers', height: 380, option: option(app, duels, chosen), click: (data) => app.explain((data as { row: number }).row) });
  const table = panel('');
  host.append(table);
  drawDuels(table, app, duels);
}

export const rivals: View = { title: 'Against rivals', about: 'Other kernels on the same problem in the same run.', render };
