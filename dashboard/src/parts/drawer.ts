// SPDX-License-Identifier: Apache-2.0
// Everything about one measurement, and the command that takes it again, in a drawer at the side.
import { type App, openSeries, runOf } from '../app.ts';
import { type Series, modelled } from '../data/series.ts';
import { button, el, on } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { harmless, reproduce } from '../reproduce.ts';
import { bytes, date, fixed, integer, shown, unknown, us } from '../text.ts';
import { copyable, runLabel } from './controls.ts';
import { modelledMark, verdictMark } from './verdict.ts';

type Fact = readonly [name: string, value: Node | string];

const column = (data: Float64Array | Uint32Array, row: number): number => data[row] ?? 0;
const united = (value: number, decimals: number, unit: string): string =>
  value === 0 ? unknown : `${fixed(value, decimals)} ${unit}`;

function timeFacts(app: App, row: number): Fact[] {
  const { rows } = app.data;
  return [
    ['median', united(column(rows.median, row), 3, 'µs')],
    ['quartiles', `${us(column(rows.q1, row))} – ${us(column(rows.q3, row))} µs`],
    ['samples', integer(column(rows.samples, row))],
    ['F', fixed(column(rows.f, row), 3)],
    ['read', `${united(column(rows.gbps, row), 0, 'GB/s')}, ${united(column(rows.percent, row), 1, '%')} of the ceiling`],
    ['computed', united(column(rows.tflops, row), 1, 'TFLOP/s')],
    ['launch ceiling', united(column(rows.launch, row), 2, 'µs')],
    ['SM clock', `${united(column(rows.clock, row), 0, 'MHz')}${rows.throttled[row] ? ', throttled' : ''}`],
    ['temperature', united(column(rows.temperature, row), 0, '°C')],
  ];
}

function originFacts(app: App, row: number): Fact[] {
  const { data } = app;
  const kernel = data.kernels[column(data.rows.kernel, row)];
  const run = runOf(app, row);
  return [
    ['config', shown(kernel?.config ?? '', 512)],
    ['machine code', kernel?.codeHash ? el('code', {}, shown(kernel.codeHash.slice(0, 16))) : unknown],
    ['registers', integer(kernel?.registers ?? 0)],
    ['shared memory', bytes(kernel?.smemBytes ?? 0)],
    ['run', runLabel(run)],
    ['card', shown(run.device.name)],
    ['driver', shown(run.driverRelease || run.toolchain.driver, 24)],
    ['NVRTC', shown(run.toolchain.nvrtc, 24)],
    ['date', date(run.date)],
  ];
}

function list(facts: readonly Fact[]): HTMLElement {
  return el('dl', { class: 'facts' }, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

function commands(app: App, series: Series, row: number): HTMLElement[] {
  const { data } = app;
  const run = runOf(app, row);
  const { n, k, experts } = series.problem;
  const config = data.kernels[column(data.rows.kernel, row)]?.config ?? '';
  const command = reproduce({ n, k, experts, m: series.m, policy: series.policy, config, runCommand: run.command });
  return [
    el('h3', {}, 'Measure it again'),
    command ? copyable(command) : el('p', { class: 'quiet' }, 'The row names no config that the tuner could run.'),
    el('h3', {}, 'The command of its run'),
    harmless(run.command) ? copyable(run.command) : el('p', { class: 'recorded' }, shown(run.command, 400) || 'not recorded'),
  ];
}

function fill(app: App, series: Series, row: number, close: () => void): HTMLElement {
  const { data } = app;
  const verdict = data.words[data.rows.verdict[row] as number] ?? '';
  const note = data.textOf(row);
  const leave = (page: 'history' | 'search'): void => {
    close();
    openSeries(app, series, page);
  };
  return el(
    'div', { class: 'drawer-body' },
    el(
      'header', {},
      el('h2', {}, `${shapeLabel(series.problem)}, M = ${series.m}`),
      el('p', { class: 'quiet' }, `${shown(series.problem.act, 12)} · ${shown(series.policy, 12)} · measurement ${data.rows.id[row]} `, modelled(series) && modelledMark()),
      button('✕', close, { class: 'close', 'aria-label': 'close' }),
    ),
    el('p', {}, verdictMark(verdict), note !== '' && el('span', { class: 'quiet' }, ` ${shown(note, 400)}`)),
    verdict === 'ok' && list(timeFacts(app, row)),
    list(originFacts(app, row)),
    ...commands(app, series, row),
    el(
      'div', { class: 'actions' },
      button('History of this series', () => leave('history')), button('All candidates', () => leave('search')),
    ),
  );
}

/** A modal dialog: focus goes in, Escape and a click beside it close it. */
export function openDrawer(app: App, row: number): void {
  const series = app.all.find((one) => one.rows.includes(row));
  if (!series) return;
  const dialog = el('dialog', { class: 'drawer', 'aria-label': 'One measurement' });
  const close = (): void => dialog.close();
  dialog.append(fill(app, series, row, close));
  on(dialog, 'close', () => dialog.remove());
  on(dialog, 'click', (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
}
