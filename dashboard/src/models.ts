// SPDX-License-Identifier: Apache-2.0
// Which weight shapes a model consists of, for the filter by model and for what a change costs a whole
// model. The table is the product's own, written into the page by `nvfp4-tune dashboard`, so that both
// agree; a page without it has no such filter.
import type { Problem } from './data/dataset.ts';

interface Gemm {
  readonly n: number;
  readonly k: number;
  readonly experts: number;
  /** Launches of this shape in one pass through the model. */
  readonly count: number;
}

export interface Model {
  readonly name: string;
  readonly gemms: readonly Gemm[];
}

const isGemm = (value: unknown): value is Gemm =>
  typeof value === 'object' && value !== null &&
  ['n', 'k', 'experts', 'count'].every((name) => Number.isInteger((value as Record<string, unknown>)[name]));

export function parseModels(text: string): Model[] {
  if (text.trim() === '') return [];
  const models: unknown = JSON.parse(text);
  if (!Array.isArray(models)) return [];
  return models.filter(
    (model): model is Model =>
      typeof model?.name === 'string' && Array.isArray(model.gemms) && model.gemms.every(isGemm),
  );
}

/** Launches of this problem in one pass through the model; 0 for none. */
export function launches(model: Model, problem: Problem): number {
  return model.gemms
    .filter((gemm) => gemm.n === problem.n && gemm.k === problem.k && gemm.experts === problem.experts)
    .reduce((sum, gemm) => sum + gemm.count, 0);
}

export const inModel = (model: Model, problem: Problem): boolean => launches(model, problem) > 0;
