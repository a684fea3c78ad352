// SPDX-License-Identifier: Apache-2.0
// What got slower or faster since a chosen run: the verdicts that the program stored, by impact. The
// page judges nothing itself.
import { type App, type View, openSeries } from '../app.ts';
import type { Comparison, Run } from '../data/dataset.ts';
import type { Series } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel, subjectPasses } from '../filter.ts';
import { launches } from '../models.ts';
import { choice, empty, figure, panel, runOptions, select } from '../parts/controls.ts';
import { spark } from '../parts/spark.ts';
import { drawTable } from '../parts/table.ts';
import { verdictMark, verdictRank } from '../parts/verdict.ts';
import { change, counted, shown, unknown, us } from '../text.ts';

interface Change {
  readonly comparison: Comparison;
  readonly series: Series | undefined;
  readonly before: number;
  readonly after: number;
  /** Microseconds a launch, or a pass through the chosen models. */
  readonly impact: number;
}

const decided = new Set(['faster', 'slower', 'broken']);

function newestRun(app: App): Run | undefined {
  const cards = app.state.filters.card;
  const judged = app.data.comparisons.map((comparison) => comparison.run);
  return judged
    .filter((run) => cards.length === 0 || cards.includes(String(run.device.id)))
    .reduce<Run | undefined>((best, run) => (best && best.id >= run.id ? best : run), undefined);
}

/** Series by what a comparison says of them. */
function seriesIndex(app: App): (comparison: Comparison) => Series | undefined {
  const { rows, words } = app.data;
  const key = (device: number, problem: number, m: number, policy: string, provenance: string): string =>
    `${device} ${problem} ${m} ${provenance} ${policy}`;
  const found = new Map(app.all.map((one) => [key(one.device.id, one.problem.id, one.m, one.policy, one.provenance), one]));
  return ({ run, problem, m, policy, before, after }) => {
    const row = after >= 0 ? after : before;
    const provenance = (row >= 0 && words[rows.provenance[row] as number]) || 'measured';
    return found.get(key(run.device.id, problem.id, m, policy, provenance));
  };
}

function weight(app: App, comparison: Comparison): number {
  const chosen = app.models.filter((model) => app.state.filters.model.includes(model.name));
  return chosen.reduce((sum, model) => sum + launches(model, comparison.problem), 0) || 1;
}

function changesOf(app: App, base: Run, run: Run): Change[] {
  const { rows } = app.data;
  const { filters, question } = app.state;
  const seriesOf = seriesIndex(app);
  const time = (row: number): number => (row >= 0 ? (rows.median[row] ?? 0) : 0);
  return app.data.comparisons
    .filter((one) => one.base === base && one.run === run && one.question === question)
    .filter((one) => filters.verdict.length === 0 || filters.verdict.includes(one.verdict))
    .filter((one) => subjectPasses({ ...one, device: run.device }, filters, app.models))
    .map((comparison) => {
      const [before, after] = [time(comparison.before), time(comparison.after)];
      const impact = before > 0 && after > 0 ? (after - before) * weight(app, comparison) : 0;
      return { comparison, series: seriesOf(comparison), before, after, impact };
    })
    .filter((one) => filters.provenance.length === 0 || filters.provenance.includes(one.series?.provenance ?? ''))
    .sort(byImpact);
}

// What is broken first, then what was decided by size, then the rest by how much one should care.
function byImpact(a: Change, b: Change): number {
  const group = ({ comparison: { verdict } }: Change): number => (verdict === 'broken' ? 0 : decided.has(verdict) ? 1 : verdictRank(verdict));
  return group(a) - group(b) || Math.abs(b.impact) - Math.abs(a.impact);
}

function summary(changes: readonly Change[]): HTMLElement {
  const count = (verdict: string): number => changes.filter((one) => one.comparison.verdict === verdict).length;
  const quiet = count('same') + count('unchanged');
  const tile = (verdict: string, tone: string): HTMLElement => figure(verdict, String(count(verdict)), '', count(verdict) > 0 ? tone : 'none');
  return el(
    'div', { class: 'figures' }, tile('slower', 'slower'), tile('faster', 'faster'), tile('broken', 'broken'), tile('ambiguous', 'doubt'),
    figure('unchanged or same', String(quiet)), figure('added or missing', String(count('added') + count('missing'))),
  );
}

// A narrow window has no room for intervals; the file has them.
const narrow = (): boolean => innerWidth < 1100;

function interval({ comparison: { ratio, low, high } }: Change): Node {
  return el(
    'span', { class: 'cell' }, change(ratio),
    low > 0 && high > 0 && !narrow() && el('span', { class: 'interval' }, ` ${change(low)} … ${change(high)}`),
  );
}

function drawChanges(host: HTMLElement, app: App, changes: readonly Change[]): void {
  const order = new Map(changes.map((one, i) => [one, i]));
  drawTable(host, {
    name: 'changes', label: 'What changed, by impact', noun: 'series', rows: changes, sort: ['verdict', 'asc'], height: 620,
    columns: [
      { key: 'verdict', title: 'Verdict', width: 112, value: (row) => row.comparison.verdict, order: (row) => order.get(row) ?? 0, show: (row) => verdictMark(row.comparison.verdict) },
      { key: 'shape', title: 'N × K', width: 124, value: (row) => shapeLabel(row.comparison.problem) },
      { key: 'm', title: 'M', right: true, width: 60, value: (row) => row.comparison.m },
      { key: 'policy', title: 'Policy', width: 90, value: (row) => shown(row.comparison.policy, 16) },
      { key: 'change', title: 'Change', right: true, width: narrow() ? 92 : 196, value: (row) => row.comparison.ratio, show: interval },
      { key: 'ratio_lo', title: '', hidden: true, value: (row) => row.comparison.low },
      { key: 'ratio_hi', title: '', hidden: true, value: (row) => row.comparison.high },
      { key: 'us_before', title: 'Before, µs', right: true, width: 94, value: (row) => row.before, show: (row) => us(row.before) },
      { key: 'us_after', title: 'After, µs', right: true, width: 86, value: (row) => row.after, show: (row) => us(row.after) },
      { key: 'impact_us', title: 'Impact, µs', right: true, width: 94, value: (row) => row.impact, show: (row) => (row.impact === 0 ? unknown : signed(row.impact)) },
      { key: 'history', title: 'History', width: 116, value: () => '', show: (row) => spark(app.data.rows, row.series) },
      { key: 'reason', title: 'Reason', grow: 3, value: (row) => shown(row.comparison.reason, 300), show: (row) => el('span', { class: 'cell quiet', title: shown(row.comparison.reason, 300) }, shown(row.comparison.reason)) },
    ],
    activate: (row) => row.series && openSeries(app, row.series),
  });
}

const signed = (value: number): string => `${value > 0 ? '+' : '−'}${Math.abs(value).toFixed(2)}`;

function controls(app: App, base: Run | undefined, run: Run): HTMLElement {
  const judged = app.data.comparisons;
  const runs = [...new Set(judged.map((one) => one.run))].sort((a, b) => a.id - b.id);
  const bases = [...new Set(judged.filter((one) => one.run === run).map((one) => one.base))].sort((a, b) => a.id - b.id);
  return el(
    'div', { class: 'controls' },
    select('Since', runOptions(app, bases), String(base?.id), (value) => app.go({ base: Number(value) })),
    select('Run', runOptions(app, runs), String(run.id), (value) => app.go({ run: Number(value), base: undefined })),
    choice(
      'Question',
      [{ value: 'best_config', label: 'Best config for the shape' }, { value: 'same_config', label: 'Same config, measured again' }],
      app.state.question, (value) => app.go({ question: value as 'best_config' | 'same_config' }),
    ),
  );
}

function render(host: HTMLElement, app: App): void {
  const { comparisons } = app.data;
  const run = comparisons.find((one) => one.run.id === app.state.run)?.run ?? newestRun(app);
  if (!run) {
    host.append(
      empty(
        'No run has been compared yet',
        'Record a run from time to time. Each one is judged against the one before it, and the verdicts appear here.',
        'nvfp4-tune bench --record',
      ),
    );
    return;
  }
  const bases = comparisons.filter((one) => one.run === run).map((one) => one.base);
  const base = bases.find((one) => one.id === app.state.base) ?? bases.reduce((a, b) => (b.id > a.id ? b : a));
  host.append(controls(app, base, run));
  const changes = changesOf(app, base, run);
  host.append(summary(changes));
  if (changes.length === 0) {
    host.append(empty('Nothing of this pair of runs passes the filters', 'Clear a filter, or choose other runs.'));
    return;
  }
  const section = panel('');
  host.append(section);
  drawChanges(section, app, changes);
  const chosen = app.state.filters.model.length;
  host.append(el('p', { class: 'note' }, chosen > 0 ? `Impact: microseconds a pass through ${counted(chosen, 'chosen model')}.` : 'Impact: microseconds a launch. Choose a model to weigh it by how often each shape runs.'));
}

export const changes: View = {
  title: 'What changed',
  about: 'Verdicts of one run against an earlier one, by impact.',
  render,
};
