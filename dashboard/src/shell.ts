// SPDX-License-Identifier: Apache-2.0
// The frame round every page: where one can go, what is loaded, and the way to load something else.
import type { App, View } from './app.ts';
import { button, el, on, svg } from './dom.ts';
import { card } from './pages/card.ts';
import { changes } from './pages/changes.ts';
import { compare } from './pages/compare.ts';
import { config } from './pages/config.ts';
import { heatmap } from './pages/heatmap.ts';
import { history } from './pages/history.ts';
import { rivals } from './pages/rivals.ts';
import { roofline } from './pages/roofline.ts';
import { search } from './pages/search.ts';
import { openHelp } from './parts/help.ts';
import { type Page, pages, toHash } from './state.ts';
import { bytes, counted, shown } from './text.ts';

export const views: Record<Page, View> = { changes, heatmap, history, config, compare, roofline, search, rivals, card };

export interface Frame {
  readonly openFile: () => void;
  readonly changeTheme: () => void;
  readonly theme: string;
}

/** Four cells, one of them filled: a tile of a packed weight. */
function mark(): SVGElement {
  const cell = (x: number, y: number, filled: boolean): SVGElement => svg('rect', { x, y, width: 7, height: 7, rx: 1.5, class: filled ? 'filled' : '' });
  return svg('svg', { class: 'mark', viewBox: '0 0 18 18', width: 18, height: 18, 'aria-hidden': 'true' }, cell(1, 1, true), cell(10, 1, false), cell(1, 10, false), cell(10, 10, false));
}

function link(app: App, page: Page): HTMLElement {
  const current = app.state.page === page;
  return el(
    'a', { href: toHash({ ...app.state, page, show: '' }), 'aria-current': current ? 'page' : undefined, class: current ? 'current' : '' },
    views[page].title, el('kbd', { 'aria-hidden': 'true' }, String(pages.indexOf(page) + 1)),
  );
}

function loaded(app: App): HTMLElement {
  const { data } = app;
  return el(
    'div', { class: 'loaded' }, el('bdi', { title: shown(data.name, 200) }, shown(data.name.split('/').at(-1) ?? '', 40)),
    el('span', {}, `${counted(data.rows.count, 'measurement')}, ${counted(data.runs.length, 'run')}`),
    el('span', {}, `${bytes(data.size)}, schema ${data.version}`),
  );
}

export function tools(frame: Frame): HTMLElement {
  return el(
    'div', { class: 'tools' },
    button('Open a database', frame.openFile, { title: 'or drop a file anywhere on the page (o)' }),
    button(frame.theme === 'system' ? 'Theme: system' : `Theme: ${frame.theme}`, frame.changeTheme, { title: 'light, dark, or as the system (t)' }),
    button('Help', openHelp, { title: 'keys, verdicts, licences (?)' }),
  );
}

export function brand(): HTMLElement {
  return el('div', { class: 'brand' }, mark(), el('span', {}, 'nvfp4-tune'));
}

const groups: readonly (readonly [string, readonly Page[]])[] = [
  ['Change', ['changes', 'heatmap', 'history', 'config', 'compare']], ['Limits', ['roofline', 'search', 'rivals', 'card']],
];

export function sidebar(app: App, frame: Frame): HTMLElement {
  return el(
    'aside', { class: 'side' }, brand(),
    el('nav', { 'aria-label': 'Pages' }, ...groups.map(([title, members]) => el('div', { class: 'group' }, el('h2', {}, title), ...members.map((page) => link(app, page))))),
    loaded(app), tools(frame),
  );
}

/** A page without data: what it is for, and the ways to give it some. */
export function welcome(frame: Frame, problem?: { message: string; remedy: string }): HTMLElement {
  return el(
    'main', { class: 'welcome' },
    brand(),
    problem
      ? el('div', { class: 'problem', role: 'alert' }, el('h1', {}, shown(problem.message, 300)), el('p', {}, problem.remedy))
      : el('div', {}, el('h1', {}, 'Drop a tuning database here'), el('p', {}, 'It stays in this page: nothing is sent anywhere.')),
    el('div', { class: 'actions' }, on(el('button', { type: 'button', class: 'primary' }, 'Open a database'), 'click', frame.openFile)),
    el('p', { class: 'quiet' }, 'nvfp4-tune db path prints where yours is; nvfp4-tune dashboard --out DIR makes this page with the data in it.'),
    tools(frame),
  );
}
