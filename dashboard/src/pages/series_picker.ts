// SPDX-License-Identifier: Apache-2.0
// One series out of those that pass the filters: what the pages about a single series begin with.
import { type App, currentSeries } from '../app.ts';
import { type Series, modelled, seriesKey } from '../data/series.ts';
import { el } from '../dom.ts';
import { shapeLabel } from '../filter.ts';
import { empty, select } from '../parts/controls.ts';
import { modelledMark } from '../parts/verdict.ts';
import { shown } from '../text.ts';

// A list of more is no list that one reads; the filters make it shorter.
const kListed = 2000;

function label(app: App, series: Series): string {
  const several = app.data.devices.length > 1;
  return [
    `${shapeLabel(series.problem)}, M = ${series.m}`, shown(series.policy, 12), series.problem.act !== 'bf16' && shown(series.problem.act, 8),
    several && shown(series.device.name, 28), modelled(series) && 'modelled',
  ].filter(Boolean).join(' · ');
}

/** Appends the picker, and `more` beside it; undefined, and a word of why, where no series passes. */
export function pickSeries(host: HTMLElement, app: App, more: (series: Series) => HTMLElement[] = () => []): Series | undefined {
  const series = currentSeries(app);
  if (!series) {
    host.append(empty('No series passes the filters', 'Clear a filter, or measure something.', 'nvfp4-tune --shape 4096,4096 --M 1,8,16,32,64'));
    return undefined;
  }
  const listed = app.visible.slice(0, kListed);
  const options = (listed.includes(series) ? listed : [series, ...listed]).map((one) => ({ value: seriesKey(one), label: label(app, one) }));
  const step = (by: number): void => {
    const at = app.visible.indexOf(series);
    const next = app.visible[(at + by + app.visible.length) % app.visible.length];
    if (next) app.go({ series: seriesKey(next) });
  };
  const stepper = (text: string, name: string, by: number): HTMLElement => {
    const made = el('button', { type: 'button', class: 'step', 'aria-label': name }, text);
    made.addEventListener('click', () => step(by));
    return made;
  };
  host.append(
    el(
      'div', { class: 'controls' }, select('Series', options, seriesKey(series), (value) => app.go({ series: value })),
      el('span', { class: 'steps' }, stepper('‹', 'previous series', -1), stepper('›', 'next series', 1)),
      ...more(series), modelled(series) && modelledMark(),
    ),
  );
  return series;
}
