// SPDX-License-Identifier: Apache-2.0
// How far every shape is from what the card can do: GB/s over the bytes read, TFLOP/s over the tokens,
// each below its ceiling of the same run.
import { type App, type View, openSeries, readCeiling, runOf } from '../app.ts';
import { type Series, modelled, newest } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { type Option, drawChart, facts, hues, ink, powersOfTwo, rule, symbols, upright } from '../parts/chart.ts';
import { empty, panel } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { modelledMark } from '../parts/verdict.ts';
import { fixed, integer, shown, us } from '../text.ts';

interface Point {
  readonly series: Series;
  readonly row: number;
  readonly megabytes: number;
}

// 4 bits a weight and one byte for 16 of them, padded to tiles of 64 by 64.
const kBytesPerWeight = 0.5625;
const padded = (size: number): number => Math.ceil(size / 64) * 64;

export function weightMegabytes(n: number, k: number, experts: number): number {
  return (padded(n) * padded(k) * kBytesPerWeight * Math.max(1, experts)) / 1e6;
}

function pointsOf(app: App): Point[] {
  return app.visible.flatMap((series) => {
    const row = newest(series);
    const { n, k, experts } = series.problem;
    return row < 0 ? [] : [{ series, row, megabytes: weightMegabytes(n, k, experts) }];
  });
}

const highest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0);

// Few tokens to many: eight groups have eight hues, so several M may share one.
function groups(points: readonly Point[]): [string, Point[]][] {
  const tokens = [...new Set(points.map((point) => point.series.m))].sort((a, b) => a - b);
  const size = Math.ceil(tokens.length / 8);
  const list: [string, Point[]][] = [];
  for (let i = 0; i < tokens.length; i += size) {
    const part = tokens.slice(i, i + size);
    const name = part.length === 1 ? `M = ${part[0]}` : `M = ${part[0]} – ${part.at(-1)}`;
    list.push([name, points.filter((point) => part.includes(point.series.m))]);
  }
  return list;
}

/** What one card can do, as its runs say it. */
interface Ceiling {
  readonly name: string;
  readonly value: number;
}

// A rate that a run has measured counts before one that follows from a row's share, which is rounded.
function ceilingsOf(points: readonly Point[], what: string, unit: string, measured: (point: Point) => number, implied: (point: Point) => number): Ceiling[] {
  const cards = [...new Set(points.map((point) => point.series.device))];
  return cards.flatMap((card) => {
    const own = points.filter((point) => point.series.device === card);
    const value = highest(own.map(measured)) || highest(own.map(implied));
    const name = cards.length > 1 ? shown(card.name, 28) : what;
    return value > 0 ? [{ name: `${name}: ${integer(value)} ${unit}`, value }] : [];
  });
}

interface Side {
  readonly x: (point: Point) => number;
  readonly y: (point: Point) => number;
  readonly xName: string;
  readonly yName: string;
  readonly ceilings: readonly Ceiling[];
  readonly log: boolean;
}

function scatter(app: App, points: readonly Point[], side: Side): Option {
  const colors = hues();
  const ceiling = highest(side.ceilings.map(({ value }) => value));
  // Two cards may compute alike: their names stand at both ends.
  const lines = side.ceilings.map(({ name, value }, i) => rule({ yAxis: value }, name, ink('accent'), i % 2 === 0 ? 'End' : 'Start'));
  const mark = lines.length > 0 ? { markLine: { symbol: 'none', silent: true, data: lines } } : {};
  return {
    tooltip: { trigger: 'item', formatter: (item: unknown) => tip(app, (item as { data: { point: Point } }).data.point) },
    legend: { type: 'plain', top: 4, left: 4, itemWidth: 8, itemHeight: 8, itemGap: 12, textStyle: { color: ink('muted'), fontSize: 12 } },
    grid: { left: 8, right: 24, top: 90, bottom: 34, containLabel: true },
    xAxis: powersOfTwo(side.xName, points.map((point) => Math.log2(side.x(point))), side.log ? 2 : 1),
    yAxis: upright(side.yName, { type: side.log ? 'log' : 'value', ...(side.log ? {} : { min: 0 }), max: (range: { max: number }) => highest([range.max, ceiling]) * (side.log ? 1.6 : 1.08), axisLabel: { color: ink('muted'), fontSize: 11, formatter: (v: number) => integer(v) } }),
    series: groups(points).map(([name, members], i) => ({
      name, type: 'scatter', symbol: symbols[i], symbolSize: 9, color: colors[i], ...(i === 0 ? mark : {}),
      data: members.map((point) => ({
        value: [Math.log2(side.x(point)), side.y(point)], point, row: point.row,
        // Hollow: no clock gave this time.
        itemStyle: modelled(point.series) ? { color: 'transparent', borderColor: colors[i], borderWidth: 1.5, borderType: 'dashed' } : { color: colors[i], opacity: 0.85 },
      })),
    })),
  } as unknown as Option;
}

function tip(app: App, { series, row, megabytes }: Point): HTMLElement {
  const { rows } = app.data;
  const at = (column: Float64Array): number => column[row] as number;
  return facts(`${shapeLabel(series.problem)}, M = ${series.m}`, [
    ['time', `${us(at(rows.median))} µs${modelled(series) ? ', modelled' : ''}`], ['policy', shown(series.policy, 16)],
    ['weights', `${fixed(megabytes, 1)} MB`], ['read', `${fixed(at(rows.gbps), 0)} GB/s`],
    ['computed', `${fixed(at(rows.tflops), 1)} TFLOP/s`], ['F', fixed(at(rows.f), 3)],
  ]);
}

function drawPoints(host: HTMLElement, app: App, points: readonly Point[]): void {
  const { rows } = app.data;
  const at = (column: Float64Array) => (point: Point): number => column[point.row] as number;
  drawTable(host, {
    name: 'roofline', label: 'Every shape against its ceilings', noun: 'series', rows: points, sort: ['f', 'asc'], height: 420,
    columns: [
      { key: 'shape', title: 'N × K', width: 150, value: (p) => shapeLabel(p.series.problem), show: (p) => el('span', { class: 'cell' }, shapeLabel(p.series.problem), modelled(p.series) && modelledMark()) },
      { key: 'm', title: 'M', right: true, value: (p) => p.series.m },
      { key: 'policy', title: 'Policy', value: (p) => shown(p.series.policy, 16) },
      { key: 'megabytes', title: 'Weights, MB', right: true, value: (p) => p.megabytes, show: (p) => fixed(p.megabytes, 1) },
      { key: 'us', title: 'µs', right: true, value: at(rows.median), show: (p) => us(at(rows.median)(p)) },
      { key: 'gbps', title: 'GB/s', right: true, value: at(rows.gbps), show: (p) => fixed(at(rows.gbps)(p), 0) },
      { key: 'pct_ceiling', title: '% of read', right: true, value: at(rows.percent), show: (p) => fixed(at(rows.percent)(p), 1) },
      { key: 'tflops', title: 'TFLOP/s', right: true, value: at(rows.tflops), show: (p) => fixed(at(rows.tflops)(p), 1) },
      { key: 'f', title: 'F', right: true, value: at(rows.f), show: (p) => fixed(at(rows.f)(p), 3) },
    ],
    activate: (p) => openSeries(app, p.series),
  });
}

function render(host: HTMLElement, app: App): void {
  const points = pointsOf(app);
  if (points.length === 0) {
    host.append(empty('No measurement passes the filters', 'Clear a filter, or tune a shape.', 'nvfp4-tune --shape 4096,4096 --M 1,8,16,32,64'));
    return;
  }
  const { rows } = app.data;
  const stream = ceilingsOf(points, 'long reads', 'GB/s', (p) => runOf(app, p.row).streamGbps, (p) => readCeiling(app, p.row));
  const tensor = ceilingsOf(points, 'tensor cores', 'TFLOP/s', (p) => runOf(app, p.row).tensorTflops, () => 0);
  const sides: readonly (readonly [string, Side])[] = [
    ['Memory', { x: (p) => p.megabytes, y: (p) => rows.gbps[p.row] as number, xName: 'packed weights, MB', yName: 'GB/s', ceilings: stream, log: false }],
    ['Tensor cores', { x: (p) => p.series.m, y: (p) => rows.tflops[p.row] as number, xName: 'tokens M', yName: 'TFLOP/s', ceilings: tensor, log: true }],
  ];
  const two = el('div', { class: 'two' });
  host.append(two);
  for (const [title, side] of sides) {
    const section = panel(title);
    two.append(section);
    drawChart(section, { label: `${title}: ${side.yName} over ${side.xName}; the table below has the numbers`, height: 420, option: scatter(app, points, side), click: (data) => app.explain((data as { row: number }).row) });
    if (side.ceilings.length === 0) section.append(el('p', { class: 'note' }, 'The runs of this file do not say this ceiling.'));
  }
  const table = panel('');
  host.append(table);
  drawPoints(table, app, points);
}

export const roofline: View = { title: 'Roofline', about: 'Every shape against what the card can read and compute.', render };
