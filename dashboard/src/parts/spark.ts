// SPDX-License-Identifier: Apache-2.0
// A history as small as a word: the medians of the last runs, the newest one marked.
import type { Rows } from '../data/dataset.ts';
import type { Series } from '../data/series.ts';
import { el, svg } from '../dom.ts';

const kWidth = 96;
const kHeight = 22;
const kPoints = 24;

export function spark(rows: Rows, series: Series | undefined): Node {
  const values = series?.points.slice(-kPoints).map((row) => rows.median[row] as number) ?? [];
  if (values.length < 2) return el('span', { class: 'quiet' }, '–');
  const [low, high] = [Math.min(...values), Math.max(...values)];
  // A steady series is a flat line and not its noise blown up.
  const range = Math.max(high - low, high * 0.02);
  const x = (i: number): number => 3 + (i * (kWidth - 6)) / (values.length - 1);
  const y = (value: number): number => kHeight - 4 - ((value - low + (range - (high - low)) / 2) * (kHeight - 8)) / range;
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  const last = values.length - 1;
  return svg(
    'svg', { class: 'spark', width: kWidth, height: kHeight, viewBox: `0 0 ${kWidth} ${kHeight}`, 'aria-hidden': 'true' },
    svg('polyline', { points, fill: 'none' }),
    svg('circle', { cx: x(last).toFixed(1), cy: y(values[last] as number).toFixed(1), r: 2.5 }),
  );
}
