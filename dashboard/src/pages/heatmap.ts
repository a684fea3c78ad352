// SPDX-License-Identifier: Apache-2.0
// Shapes by token counts at a glance: F, GB/s or the stored change. A table and not a drawing, so that
// it can be read aloud, walked with the keyboard and copied.
import { type App, type View, openSeries, readCeiling } from '../app.ts';
import { type Series, byShape, modelled, newest, seriesKey } from '../data/series.ts';
import { button, el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { choice, empty, panel, select } from '../parts/controls.ts';
import { modelledMark } from '../parts/verdict.ts';
import { change, fixed, shown } from '../text.ts';

const kShown = 150;

interface Measure {
  readonly value: string;
  readonly label: string;
  /** Undefined: nothing to show for the series. */
  of(app: App, series: Series): number | undefined;
  text(value: number): string;
  /** From 0 (palest) to 1, or from -1 to 1 with `diverging`. */
  shade(value: number, app: App, series: Series): number;
  readonly diverging?: boolean;
  readonly legend: readonly [string, string];
}

const atNewest = (column: 'f' | 'gbps' | 'median') => (app: App, series: Series): number | undefined => {
  const value = app.data.rows[column][newest(series)] ?? 0;
  return value > 0 ? value : undefined;
};

function storedChange(app: App, series: Series): number | undefined {
  return app.verdicts.of(series, app.state.question).findLast((one) => one.ratio > 0)?.ratio;
}

const clamp = (value: number): number => Math.max(-1, Math.min(1, value));

const measures: readonly Measure[] = [
  { value: 'f', label: 'F', of: atNewest('f'), text: (v) => fixed(v, 2), shade: (v) => clamp((v - 0.4) / 0.6), legend: ['0.4', '1.0: the ceiling'] },
  { value: 'change', label: '% change', of: storedChange, text: (v) => change(v), shade: (v) => clamp((v - 1) / 0.05), diverging: true, legend: ['5 % faster', '5 % slower'] },
  { value: 'gbps', label: 'GB/s', of: atNewest('gbps'), text: (v) => fixed(v, 0), shade: (v, app, series) => clamp(v / (readCeiling(app, newest(series)) || Infinity)), legend: ['0', 'what the card reads'] },
  { value: 'us', label: 'µs', of: atNewest('median'), text: (v) => fixed(v, 1), shade: () => 0, legend: ['', ''] },
];

interface Grid {
  readonly shapes: Series[][];
  readonly tokens: number[];
}

/** One row a problem; each of its cells is one series. */
function gridOf(series: readonly Series[]): Grid {
  const rows = new Map<string, Series[]>();
  for (const one of series) {
    const key = `${one.device.id} ${one.problem.id} ${one.provenance}`;
    const known = rows.get(key);
    if (known) known.push(one);
    else rows.set(key, [one]);
  }
  const tokens = [...new Set(series.map((one) => one.m))].sort((a, b) => a - b);
  return { shapes: [...rows.values()].sort((a, b) => byShape((a[0] as Series).problem, (b[0] as Series).problem)), tokens };
}

function cell(app: App, measure: Measure, series: Series | undefined, m: number): HTMLElement {
  const value = series && measure.of(app, series);
  if (!series || value === undefined) return el('td', { class: 'none' }, el('span', { 'aria-label': 'not measured' }, '·'));
  const shade = measure.shade(value, app, series);
  const tone = !measure.diverging ? 'level' : shade < 0 ? 'faster' : 'slower';
  const strength = Math.round(Math.abs(shade) * 100);
  return el(
    'td', {},
    button(measure.text(value), () => openSeries(app, series), {
      class: `heat ${tone}${strength > 55 ? ' strong' : ''}${modelled(series) ? ' is-modelled' : ''}`,
      style: `--strength:${strength}%`,
      title: `${shapeLabel(series.problem)}, M = ${m}: ${measure.label} ${measure.text(value)}${modelled(series) ? ', modelled' : ''}`,
      'data-series': seriesKey(series),
    }),
  );
}

function drawGrid(app: App, measure: Measure, grid: Grid, all: boolean): HTMLElement {
  const several = app.data.devices.length > 1 && app.state.filters.card.length !== 1;
  const shapes = all ? grid.shapes : grid.shapes.slice(0, kShown);
  const head = el('tr', {}, el('th', { scope: 'col' }, 'N × K, M →'), ...grid.tokens.map((m) => el('th', { scope: 'col' }, `${m}`)));
  const body = shapes.map((row) => {
    const first = row[0] as Series;
    const byM = new Map(row.map((one) => [one.m, one]));
    return el(
      'tr', {},
      el('th', { scope: 'row' }, shapeLabel(first.problem), first.problem.act !== 'bf16' && el('span', { class: 'quiet' }, ` ${shown(first.problem.act, 12)}`),
        several && el('span', { class: 'quiet' }, ` ${shown(first.device.name, 24)}`), modelled(first) && modelledMark()),
      ...grid.tokens.map((m) => cell(app, measure, byM.get(m), m)),
    );
  });
  return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Shapes by token counts' },
    el('table', { class: 'heatmap' }, el('caption', { class: 'hidden' }, `${measure.label} by shape and M`), el('thead', {}, head), el('tbody', {}, ...body)));
}

function legend(measure: Measure): HTMLElement | false {
  if (measure.legend[0] === '') return false;
  const bar = el('span', { class: measure.diverging ? 'ramp diverging' : 'ramp', 'aria-hidden': 'true' });
  return el('p', { class: 'legend' }, measure.legend[0], bar, measure.legend[1]);
}

function render(host: HTMLElement, app: App): void {
  const measure = measures.find((one) => one.value === app.state.show) ?? (measures[0] as Measure);
  const policies = [...new Set(app.visible.map((one) => one.policy))].sort();
  const wanted = app.state.filters.policy;
  // Two policies in one cell would be two numbers: the one with most series unless one was chosen.
  const count = (policy: string): number => app.visible.filter((one) => one.policy === policy && one.points.length > 0).length;
  const policy = policies.toSorted((a, b) => count(b) - count(a))[0] ?? '';
  host.append(
    el(
      'div', { class: 'controls' },
      choice('Show', measures, measure.value, (value) => app.go({ show: value })),
      policies.length > 1 || wanted.length > 0 ? select('Policy', policies.map((one) => ({ value: one, label: shown(one, 16) })), policy, (value) => app.go({ filters: { ...app.state.filters, policy: [value] } })) : null,
    ),
  );
  const grid = gridOf(app.visible.filter((one) => one.policy === policy && measure.of(app, one) !== undefined));
  if (grid.shapes.length === 0) {
    host.append(
      measure.value === 'change'
        ? empty('No stored verdict passes the filters', 'Compare two recorded runs, or show F instead.', 'nvfp4-tune bench --record')
        : empty('No measurement passes the filters', 'Clear a filter, or tune a shape.', 'nvfp4-tune --shape 4096,4096 --M 1,8,16,32,64'),
    );
    return;
  }
  const section = panel('', legend(measure), drawGrid(app, measure, grid, false));
  host.append(section);
  const left = grid.shapes.length - kShown;
  if (left > 0) section.append(button(`Show ${left} more shapes`, () => section.replaceChildren(drawGrid(app, measure, grid, true))));
  host.append(el('p', { class: 'note' }, measure.value === 'f'
    ? 'F: the time the hardware needs (one launch that reads the weights, or the tensor cores) over the median of the best kernel of the newest run.'
    : 'Of each series the best kernel of its newest run. A cell opens its history.'));
}

export const heatmap: View = { title: 'Shapes × M', about: 'Every shape at every token count, one number each.', render };
