// SPDX-License-Identifier: Apache-2.0
// From the address and the data to what is on the screen: one state, drawn anew whenever it changes.
import 'tabulator-tables/dist/css/tabulator_simple.min.css';
import './style.css';
import { type App, Verdicts } from './app.ts';
import type { Dataset } from './data/dataset.ts';
import { load } from './data/load.ts';
import { Unreadable, openTables, unreadable } from './data/open.ts';
import { type Series, allSeries, modelled } from './data/series.ts';
import { type Source, fetched, given, inlined } from './data/source.ts';
import { button, el, on } from './dom.ts';
import { filtered } from './filter.ts';
import { type Model, parseModels } from './models.ts';
import { disposeCharts } from './parts/chart.ts';
import { openDrawer } from './parts/drawer.ts';
import { filterBar, openFilter, refocus } from './parts/filter_bar.ts';
import { openHelp } from './parts/help.ts';
import { disposeTables } from './parts/table.ts';
import { sidebar, views, welcome } from './shell.ts';
import { type Filters, type State, fromHash, pages, toHash } from './state.ts';
import { counted } from './text.ts';
import { type Theme, applyTheme, nextTheme, savedTheme } from './theme.ts';

interface Loaded {
  readonly data: Dataset;
  readonly all: readonly Series[];
  readonly verdicts: Verdicts;
  readonly close: () => void;
}

const root = document.getElementById('app') as HTMLElement;
const models: readonly Model[] = parseModels(document.getElementById('nvfp4-models')?.textContent ?? '');
let theme: Theme = savedTheme();
let current: Loaded | undefined;
let problem: Unreadable | undefined;

const picker = on(el('input', { type: 'file', hidden: true, 'aria-label': 'database file' }), 'change', () => {
  const file = picker.files?.[0];
  picker.value = '';
  if (!file) return;
  performance.mark('nvfp4-given');
  void show(() => given(file));
});

const frame = {
  openFile: () => picker.click(),
  changeTheme: () => {
    theme = nextTheme(theme);
    applyTheme(theme);
    draw();
  },
  get theme() {
    return theme;
  },
};

/** Measured and modelled never mix unasked: what is measured is shown, else what is modelled. */
function withProvenance(filters: Filters, all: readonly Series[]): Filters {
  if (filters.provenance.length > 0 || !all.some(modelled) || all.every(modelled)) return filters;
  return { ...filters, provenance: ['measured'] };
}

function appOf({ data, all, verdicts }: Loaded): App {
  // Without a verdict the landing page would be an empty one.
  const state = fromHash(location.hash || (data.comparisons.length > 0 ? '' : '#/heatmap'));
  const filters = withProvenance(state.filters, all);
  return {
    data, models, all, verdicts, state: { ...state, filters }, visible: filtered(all, filters, models),
    go(patch: Partial<State>) {
      const next = toHash({ ...fromHash(location.hash), ...patch });
      if (next !== location.hash) location.hash = next;
    },
    explain(row: number) {
      openDrawer(this, row);
    },
  };
}

function notices(app: App): (HTMLElement | false)[] {
  const { data } = app;
  return [
    app.visible.some(modelled) && el('p', { class: 'banner' }, 'Modelled times are shown: predictions of the cost model, not measurements.'),
    data.skipped > 0 && el('p', { class: 'warning' }, `${counted(data.skipped, 'row')} of this file could not be used and ${data.skipped === 1 ? 'is' : 'are'} left out.`),
    data.version < 2 && el('p', { class: 'banner' }, 'Schema version 1: commits, ceilings of runs, verdicts and rivals are not in it. Any nvfp4-tune of today brings the file up to date when it writes to it.'),
  ];
}

function drawPage(app: App): void {
  const view = views[app.state.page];
  document.title = `${view.title} · nvfp4-tune`;
  const { name, focused } = openFilter();
  const content = el('div', { class: 'content' });
  const main = el(
    'main', {}, filterBar(app, name), el('header', { class: 'page-head' }, el('h1', { tabindex: -1 }, view.title), el('p', {}, view.about)),
    ...notices(app), content,
  );
  const skip = button('Skip to the content', () => main.querySelector<HTMLElement>('h1')?.focus(), { class: 'skip' });
  root.replaceChildren(skip, el('div', { class: 'frame' }, sidebar(app, frame), main));
  refocus(focused);
  view.render(content, app);
}

let drawnPage = '';

function draw(): void {
  disposeCharts();
  disposeTables();
  document.body.dataset['state'] = 'drawing';
  if (current && !problem) {
    const app = appOf(current);
    const moved = drawnPage !== app.state.page;
    drawPage(app);
    if (moved) window.scrollTo(0, 0);
    drawnPage = app.state.page;
  } else {
    document.title = 'nvfp4-tune';
    root.replaceChildren(welcome(frame, problem && { message: problem.message, remedy: problem.remedy }));
  }
  document.body.dataset['state'] = problem ? 'problem' : current ? 'ready' : 'empty';
  performance.mark('nvfp4-ready');
}

async function show(from: () => Promise<Source | undefined>): Promise<void> {
  document.body.dataset['state'] = 'loading';
  try {
    const source = await from();
    if (source) {
      const tables = await openTables(source.bytes);
      const data = load(tables, source.name);
      current?.close();
      current = { data, all: allSeries(data), verdicts: new Verdicts(data.comparisons), close: () => tables.close() };
    }
    problem = undefined;
  } catch (error) {
    problem = unreadable(error);
  }
  draw();
}

function key(event: KeyboardEvent): void {
  const typing = event.target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === 'Escape') document.querySelector('.filters details[open]')?.removeAttribute('open');
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const page = pages[Number(event.key) - 1];
  if (page && current && !problem) appOf(current).go({ page, show: '' });
  if (event.key === 't') frame.changeTheme();
  if (event.key === 'o') frame.openFile();
  if (event.key === '?') openHelp();
  if (event.key === 'f') document.querySelector<HTMLElement>('.filters summary')?.focus();
  if (event.key === '[' || event.key === ']') document.querySelectorAll<HTMLElement>('.steps button')[event.key === '[' ? 0 : 1]?.click();
}

function listen(): void {
  window.addEventListener('hashchange', draw);
  window.addEventListener('keydown', key);
  window.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  window.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  window.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    const file = event.dataTransfer?.files[0];
    if (file) void show(() => given(file));
  });
  document.addEventListener('click', (event) => {
    for (const open of document.querySelectorAll('.filters details[open]')) {
      if (event.target instanceof Node && event.target.isConnected && !open.contains(event.target)) open.removeAttribute('open');
    }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}
applyTheme(theme);
document.body.append(picker);
listen();
const address = new URLSearchParams(location.search).get('db');
void show(() => (address ? fetched(address) : inlined()));
