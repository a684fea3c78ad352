// SPDX-License-Identifier: Apache-2.0
// The mean of ratios that is the same whichever side is the base; 0 of nothing.
export function geometricMean(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
