// SPDX-License-Identifier: Apache-2.0
// What the keys do, what the symbols say, and whose software is in this file.
import echarts from '../../node_modules/echarts/LICENSE?raw';
import echartsNotice from '../../node_modules/echarts/NOTICE?raw';
import zrender from '../../node_modules/zrender/LICENSE?raw';
import tabulator from '../../node_modules/tabulator-tables/LICENSE?raw';
import sqlJs from '../../node_modules/sql.js/LICENSE?raw';
import tslib from '../../node_modules/tslib/LICENSE.txt?raw';
import { button, el, on } from '../dom.ts';
import { verdictMark } from './verdict.ts';

const keys: readonly (readonly [string, string])[] = [
  ['1 … 9', 'go to a page'], ['f', 'go to the filters'], ['[ and ]', 'previous and next series'], ['t', 'light, dark, or as the system'],
  ['↑ ↓ Enter', 'walk a table, open a row'], ['o', 'open a database'], ['?', 'this help'], ['Esc', 'close'],
];

const verdicts: readonly (readonly [string, string])[] = [
  ['faster', 'time and cycles fell by more than the noise'], ['slower', 'time and cycles rose by more than the noise'],
  ['same', 'the intervals overlap'], ['unchanged', 'the same machine code: the difference is the noise'],
  ['ambiguous', 'neither; the reason says what settles it'], ['broken', 'the correctness gate failed'],
  ['added', 'only in the newer run'], ['missing', 'only in the older run'],
];

const licences: readonly (readonly [string, string])[] = [
  ['Apache ECharts', `${echartsNotice}\n${echarts}`], ['ZRender', zrender], ['Tabulator', tabulator],
  ['sql.js, with SQLite, which is in the public domain', sqlJs], ['tslib', tslib],
];

const list = (rows: readonly (readonly [Node | string, string])[]): HTMLElement =>
  el('dl', { class: 'keys' }, ...rows.flatMap(([key, meaning]) => [el('dt', {}, key), el('dd', {}, meaning)]));

export function openHelp(): void {
  if (document.querySelector('dialog[open]')) return;
  const dialog = el('dialog', { class: 'help', 'aria-label': 'Help' });
  const close = (): void => dialog.close();
  dialog.append(
    el(
      'div', { class: 'help-body' }, button('✕', close, { class: 'close', 'aria-label': 'close' }),
      el('h2', {}, 'Keys'), list(keys.map(([key, meaning]) => [el('kbd', {}, key), meaning] as const)),
      el('h2', {}, 'Verdicts'), list(verdicts.map(([verdict, meaning]) => [verdictMark(verdict), meaning] as const)),
      el('p', { class: 'quiet' }, 'The program makes the verdicts and finds the change points; this page only draws them. It asks no server for anything, and no data leaves it.'),
      el('h2', {}, 'Licences'),
      ...licences.map(([name, text]) => el('details', {}, el('summary', {}, name), el('pre', { tabindex: 0 }, text))),
    ),
  );
  on(dialog, 'close', () => dialog.remove());
  on(dialog, 'click', (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
}
