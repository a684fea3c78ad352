// SPDX-License-Identifier: Apache-2.0
// Which series pass, and which values a filter can take.
import type { Dataset, Problem } from './data/dataset.ts';
import { type Series, byShape } from './data/series.ts';
import { type Model, inModel } from './models.ts';
import type { FilterName, Filters } from './state.ts';

/** What a problem at one M under one policy on a card is asked. */
interface Subject {
  readonly device: { readonly id: number };
  readonly problem: Problem;
  readonly m: number;
  readonly policy: string;
}

const passes = (allowed: readonly string[], value: string): boolean =>
  allowed.length === 0 || allowed.includes(value);

export function subjectPasses(subject: Subject, filters: Filters, models: readonly Model[]): boolean {
  const { device, problem, m, policy } = subject;
  return (
    passes(filters.card, String(device.id)) && passes(filters.shape, problem.shape) &&
    passes(filters.m, String(m)) && passes(filters.act, problem.act) && passes(filters.policy, policy) &&
    (filters.model.length === 0 ||
      models.some((model) => filters.model.includes(model.name) && inModel(model, problem)))
  );
}

export function filtered(series: readonly Series[], filters: Filters, models: readonly Model[]): Series[] {
  return series.filter((one) => passes(filters.provenance, one.provenance) && subjectPasses(one, filters, models));
}

export interface Choice {
  readonly value: string;
  readonly label: string;
}

const plain = (values: Iterable<string>): Choice[] => [...new Set(values)].map((value) => ({ value, label: value }));

export function shapeLabel(problem: Problem): string {
  return `${problem.n} × ${problem.k}${problem.experts > 0 ? ` × ${problem.experts} experts` : ''}`;
}

/** The values that occur in the data, in the order in which one looks for them. */
export function choices(name: FilterName, data: Dataset, series: readonly Series[], models: readonly Model[]): Choice[] {
  switch (name) {
    case 'card':
      return data.devices.map((device) => ({
        value: String(device.id),
        label: device.emulated ? `${device.name} (emulated)` : device.name,
      }));
    case 'model':
      return plain(models.filter((model) => data.problems.some((problem) => inModel(model, problem))).map((model) => model.name));
    case 'shape': {
      const shapes = new Map(data.problems.toSorted(byShape).map((problem) => [problem.shape, shapeLabel(problem)]));
      return [...shapes].map(([value, label]) => ({ value, label }));
    }
    case 'm':
      return plain([...new Set(series.map((one) => one.m))].sort((a, b) => a - b).map(String));
    case 'act':
      return plain(data.problems.map((problem) => problem.act).sort());
    case 'policy':
      return plain(series.map((one) => one.policy).sort());
    case 'provenance':
      return plain(series.map((one) => one.provenance).sort());
    case 'verdict':
      return plain(data.comparisons.map((comparison) => comparison.verdict).sort());
  }
}
