// SPDX-License-Identifier: Apache-2.0
// What every page is given: the data, what is looked at, and the way to look at something else.
import type { Comparison, Dataset, Run } from './data/dataset.ts';
import { type Series, seriesKey } from './data/series.ts';
import type { Model } from './models.ts';
import type { Page, State } from './state.ts';

export interface App {
  readonly data: Dataset;
  readonly models: readonly Model[];
  readonly all: readonly Series[];
  /** The series that pass the filters. */
  readonly visible: readonly Series[];
  readonly verdicts: Verdicts;
  readonly state: State;
  go(patch: Partial<State>): void;
  /** Opens the drawer with everything about one measurement. */
  explain(row: number): void;
}

/** What was said of one subject, found without a search: there are thousands of both. */
export class Verdicts {
  private bySubject: Map<string, Comparison[]> | undefined;

  constructor(private readonly comparisons: readonly Comparison[]) {}

  private static key(device: number, problem: number, m: number, policy: string, question: string): string {
    return `${device} ${problem} ${m} ${question} ${policy}`;
  }

  private static grouped(comparisons: readonly Comparison[]): Map<string, Comparison[]> {
    const bySubject = new Map<string, Comparison[]>();
    for (const one of comparisons) {
      const key = Verdicts.key(one.run.device.id, one.problem.id, one.m, one.policy, one.question);
      const known = bySubject.get(key);
      if (known) known.push(one);
      else bySubject.set(key, [one]);
    }
    return bySubject;
  }

  /** Oldest first. */
  of(series: Series, question: string): readonly Comparison[] {
    this.bySubject ??= Verdicts.grouped(this.comparisons);
    return this.bySubject.get(Verdicts.key(series.device.id, series.problem.id, series.m, series.policy, question)) ?? [];
  }
}

export interface View {
  readonly title: string;
  readonly about: string;
  /** The host is in the document and empty. */
  render(host: HTMLElement, app: App): void;
}

export const runById = (app: App, id: number | undefined): Run | undefined =>
  id === undefined ? undefined : app.data.runs.find((run) => run.id === id);

export const runOf = (app: App, row: number): Run => app.data.runs[app.data.rows.run[row] as number] as Run;

/** GB/s of long reads in a row's run; rows of older databases say it through their share of it. 0: unknown. */
export function readCeiling(app: App, row: number): number {
  const { gbps, percent } = app.data.rows;
  const stored = runOf(app, row).streamGbps;
  return stored > 0 ? stored : (percent[row] as number) > 0 ? ((gbps[row] as number) / (percent[row] as number)) * 100 : 0;
}

/** The series that the address names, else the first of those that pass the filters with the most runs. */
export function currentSeries(app: App): Series | undefined {
  const named = app.all.find((series) => seriesKey(series) === app.state.series);
  const most = app.visible.reduce((longest, series) => Math.max(longest, series.points.length), 0);
  return named ?? app.visible.find((series) => series.points.length === most);
}

export const openSeries = (app: App, series: Series, page: Page = 'history'): void =>
  app.go({ page, series: seriesKey(series) });
