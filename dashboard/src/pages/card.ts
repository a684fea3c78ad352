// SPDX-License-Identifier: Apache-2.0
// Each card and how steady it is: its runs with their surroundings, the spread of its times, and by how
// much the time of one and the same machine code moves between runs.
import type { App, View } from '../app.ts';
import type { Dataset, Device, Run } from '../data/dataset.ts';
import { el } from '../dom.ts';
import { type Option, axis, drawChart, facts, hues, upright } from '../parts/chart.ts';
import { empty, figure, panel, shortRun } from '../parts/controls.ts';
import { drawTable } from '../parts/table.ts';
import { modelledMark } from '../parts/verdict.ts';
import { bytes, change, date, fixed, integer, shown, unknown } from '../text.ts';

interface RunFacts {
  readonly run: Run;
  readonly rows: number;
  readonly failed: number;
  readonly throttled: number;
  readonly clock: number;
  readonly hottest: number;
  /** Median over its rows of (q3 - q1) / median. */
  readonly spread: number;
}

function middle(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[values.length >> 1] ?? 0;
}

// No filter changes them, and they take a pass over all rows.
const knownFacts = new WeakMap<Dataset, RunFacts[]>();

function factsOf(data: Dataset): RunFacts[] {
  const known = knownFacts.get(data);
  if (known) return known;
  const { rows, runs, words } = data;
  const ok = words.indexOf('ok');
  const all = runs.map(() => ({ spreads: [] as number[], clocks: [] as number[], rows: 0, failed: 0, throttled: 0, hottest: 0 }));
  for (let i = 0; i < rows.count; ++i) {
    const sums = all[rows.run[i] as number];
    if (!sums) continue;
    ++sums.rows;
    if (rows.verdict[i] !== ok) {
      ++sums.failed;
      continue;
    }
    sums.throttled += rows.throttled[i] as number;
    sums.hottest = Math.max(sums.hottest, rows.temperature[i] as number);
    if ((rows.clock[i] as number) > 0) sums.clocks.push(rows.clock[i] as number);
    sums.spreads.push(((rows.q3[i] as number) - (rows.q1[i] as number)) / (rows.median[i] as number));
  }
  const made = all.map(({ spreads, clocks, ...sums }, at) => ({ ...sums, run: runs[at] as Run, clock: middle(clocks), spread: middle(spreads) }));
  knownFacts.set(data, made);
  return made;
}

/** How far "unchanged" moved: the same machine code in two runs. */
function noiseOf(app: App, device: Device): number[] {
  return app.data.comparisons
    .filter((one) => one.run.device === device && one.verdict === 'unchanged' && one.ratio > 0)
    .map((one) => Math.abs(one.ratio - 1));
}

function clockChart(list: readonly RunFacts[]): Option {
  const [first, second] = hues();
  const point = (value: number, one: RunFacts): object => ({ value: value > 0 ? value : null, one });
  return {
    tooltip: {
      trigger: 'axis',
      formatter: (items: unknown) => {
        const one = (items as { data: { one: RunFacts } }[])[0]?.data.one;
        return one ? facts(shortRun(one.run), [
          ['date', date(one.run.date)], ['clock', `${fixed(one.clock, 0)} MHz`], ['spread', `${fixed(one.spread * 100, 2)} %`],
          ['throttled', `${one.throttled} of ${one.rows}`], ['driver', shown(one.run.driverRelease || one.run.toolchain.driver, 20)], ['NVRTC', shown(one.run.toolchain.nvrtc, 20)],
        ]) : '';
      },
    },
    grid: { left: 8, right: 8, top: 68, bottom: 8, containLabel: true },
    xAxis: axis('', { type: 'category', data: list.map((one) => shortRun(one.run)), splitLine: { show: false } }),
    yAxis: [upright('spread, %', { type: 'value', min: 0 }), axis('MHz', { type: 'value', min: (range: { min: number }) => Math.floor(range.min / 50 - 1) * 50, max: (range: { max: number }) => Math.ceil(range.max / 50 + 1) * 50, alignTicks: true, nameLocation: 'end', nameGap: 14, splitLine: { show: false } })],
    series: [
      { name: 'spread: (q3 − q1) / median', type: 'bar', barMaxWidth: 14, itemStyle: { color: first, opacity: 0.55, borderRadius: [3, 3, 0, 0] }, data: list.map((one) => point(one.spread * 100, one)) },
      { name: 'SM clock', type: 'line', yAxisIndex: 1, symbol: 'diamond', symbolSize: 8, color: second, data: list.map((one) => point(one.clock, one)) },
    ],
  } as unknown as Option;
}

function drawRuns(host: HTMLElement, list: readonly RunFacts[]): void {
  drawTable(host, {
    name: 'runs', label: 'The runs on this card', noun: 'run', rows: list.toReversed(), height: 460,
    columns: [
      { key: 'run', title: 'Run', right: true, width: 56, value: (row) => row.run.id },
      { key: 'date', title: 'Date', width: 142, value: (row) => row.run.date, show: (row) => date(row.run.date) },
      { key: 'purpose', title: 'Purpose', width: 76, value: (row) => shown(row.run.purpose, 12) },
      { key: 'commit', title: 'Commit', width: 86, value: (row) => shown(row.run.commit, 16), show: (row) => el('code', {}, shown(row.run.commit, 12) || unknown) },
      { key: 'driver', title: 'Driver', width: 98, value: (row) => shown(row.run.driverRelease || row.run.toolchain.driver, 20) },
      { key: 'nvrtc', title: 'NVRTC', width: 76, value: (row) => shown(row.run.toolchain.nvrtc, 20) },
      { key: 'rows', title: 'Rows', right: true, width: 64, value: (row) => row.rows, show: (row) => integer(row.rows) },
      { key: 'failed', title: 'Failed', right: true, width: 66, value: (row) => row.failed, show: (row) => integer(row.failed) },
      { key: 'throttled', title: 'Throttled', right: true, width: 88, value: (row) => row.throttled, show: (row) => el('span', { class: row.throttled > 0 ? 'cell slower' : 'cell' }, `${row.throttled > 0 ? '▼ ' : ''}${row.throttled}`) },
      { key: 'clock_mhz', title: 'MHz', right: true, width: 60, value: (row) => row.clock, show: (row) => fixed(row.clock, 0) },
      { key: 'temperature_c', title: '°C', right: true, width: 50, value: (row) => row.hottest, show: (row) => fixed(row.hottest, 0) },
      { key: 'spread', title: 'Spread', right: true, width: 76, value: (row) => row.spread, show: (row) => `${fixed(row.spread * 100, 2)} %` },
      { key: 'stream_gbps', title: 'GB/s', right: true, width: 62, value: (row) => row.run.streamGbps, show: (row) => fixed(row.run.streamGbps, 0) },
      { key: 'tensor_tflops', title: 'TFLOP/s', right: true, value: (row) => row.run.tensorTflops, show: (row) => fixed(row.run.tensorTflops, 0) },
      { key: 'command', title: 'Command', hidden: true, value: (row) => row.run.command },
    ],
  });
}

function drawCard(host: HTMLElement, app: App, device: Device): void {
  const list = factsOf(app.data).filter(({ run }) => run.device === device);
  const noise = noiseOf(app, device);
  const throttled = list.reduce((sum, one) => sum + one.throttled, 0);
  const section = panel(
    shown(device.name, 80), device.emulated && el('p', {}, modelledMark(), ' an emulated device: its times are predictions.'),
    el(
      'div', { class: 'figures' }, figure('architecture', shown(device.arch, 12)), figure('SMs', integer(device.smCount)), figure('L2', bytes(device.l2Bytes)),
      figure('memory, nominal', `${(device.bandwidthClass / 10).toFixed(1)} TB/s`), figure('runs', integer(list.length)),
      figure('throttled rows', integer(throttled), '', throttled > 0 ? 'slower' : ''),
      figure('same code, two runs', noise.length > 0 ? change(1 + middle(noise), 2).replace('+', '±') : unknown, noise.length > 0 ? `median of ${noise.length}` : 'no unchanged pair yet'),
    ),
  );
  host.append(section);
  if (list.length > 0) drawChart(section, { label: 'Spread and clock of every run; the table below has the numbers', height: 260, option: clockChart(list) });
  drawRuns(section, list);
}

function render(host: HTMLElement, app: App): void {
  const cards = app.state.filters.card;
  const devices = app.data.devices.filter((device) => cards.length === 0 || cards.includes(String(device.id)));
  if (devices.length === 0) host.append(empty('No card passes the filters', 'Clear the filter by card.'));
  for (const device of devices) drawCard(host, app, device);
}

export const card: View = { title: 'Cards and noise', about: 'Each card, its runs and their surroundings, and how steady it is.', render };
