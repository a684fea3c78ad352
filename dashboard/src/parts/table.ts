// SPDX-License-Identifier: Apache-2.0
// A table: sortable, drawn row by row as it scrolls, walked with the arrow keys, opened with Enter,
// and downloadable as it stands. Cells are made by us as elements.
import { FormatModule, InteractionModule, ResizeTableModule, SortModule, Tabulator } from 'tabulator-tables';
import { button, el, on } from '../dom.ts';
import { type Exported, csv, json, save } from '../download.ts';
import { counted } from '../text.ts';

Tabulator.registerModule([FormatModule, InteractionModule, ResizeTableModule, SortModule]);

// Of a line of text with its padding and border; style.css has the same.
const kRowHeight = 35;

type Value = string | number | boolean | null;

export interface Column<T> {
  readonly key: string;
  readonly title: string;
  /** What is sorted by and exported. */
  readonly value: (row: T) => Value;
  /** What is seen; the value itself if left out. */
  readonly show?: (row: T) => Node | string;
  readonly right?: boolean;
  readonly width?: number;
  readonly grow?: number;
  /** In the files, not on the screen. */
  readonly hidden?: boolean;
  /** Sorted by this instead of the value. */
  readonly order?: (row: T) => number;
}

export interface TableSpec<T> {
  /** Names the files; no spaces. */
  readonly name: string;
  readonly label: string;
  readonly rows: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly sort?: readonly [key: string, direction: 'asc' | 'desc'];
  readonly activate?: (row: T) => void;
  readonly noun?: string;
  readonly height?: number;
}

interface Held<T> {
  source: T;
  [key: string]: unknown;
}

let live: Tabulator[] = [];

export function disposeTables(): void {
  for (const table of live) table.destroy();
  live = [];
}

function exported<T>(spec: TableSpec<T>, rows: readonly T[]): Exported[] {
  return rows.map((row) => Object.fromEntries(spec.columns.map((column) => [column.key, column.value(row)])));
}

function definition<T>(column: Column<T>): object {
  const shown = column.show ?? ((row: T) => String(column.value(row) ?? ''));
  return {
    title: column.title,
    field: column.key,
    hozAlign: column.right ? 'right' : 'left',
    headerHozAlign: column.right ? 'right' : 'left',
    minWidth: 48,
    ...(column.width ? { width: column.width } : {}),
    widthGrow: column.grow ?? 1,
    sorter: column.right || column.order ? 'number' : 'string',
    headerSortStartingDir: column.right ? 'desc' : 'asc',
    formatter: (cell: { getRow(): { getData(): Held<T> } }) => {
      const content = shown(cell.getRow().getData().source);
      return typeof content === 'string' ? el('span', { class: 'cell' }, content) : content;
    },
  };
}

function held<T>(spec: TableSpec<T>): Held<T>[] {
  return spec.rows.map((source) => {
    const row: Held<T> = { source };
    for (const { key, order, value } of spec.columns) row[key] = order ? order(source) : value(source);
    return row;
  });
}

/** Enter opens a row, arrows go to the next one. */
function walk(box: HTMLElement): void {
  on(box, 'keydown', (event) => {
    const row = event.target instanceof HTMLElement ? event.target.closest<HTMLElement>('.tabulator-row') : null;
    if (!row) return;
    const next = event.key === 'ArrowDown' ? row.nextElementSibling : event.key === 'ArrowUp' ? row.previousElementSibling : null;
    if (next instanceof HTMLElement) {
      event.preventDefault();
      next.focus();
    } else if (event.key === 'Enter') {
      event.preventDefault();
      row.click();
    }
  });
}

/** Roles that a grid may hold: Tabulator's scrolling box can be focused and has none. */
function describe(box: HTMLElement, label: string): void {
  box.setAttribute('aria-label', label);
  box.removeAttribute('aria-owns');
  box.querySelector('.tabulator-tableholder')?.setAttribute('role', 'rowgroup');
  box.querySelector('.tabulator-table')?.setAttribute('role', 'presentation');
}

export function drawTable<T>(host: HTMLElement, spec: TableSpec<T>): void {
  const box = el('div', { class: spec.activate ? 'table opens' : 'table' });
  let current = (): readonly T[] => spec.rows;
  const name = `nvfp4-${spec.name}`;
  host.append(
    el(
      'div', { class: 'table-head' }, el('span', { class: 'count' }, counted(spec.rows.length, spec.noun ?? 'row')),
      el(
        'span', { class: 'downloads' },
        button('CSV', () => save(`${name}.csv`, 'text/csv', csv(exported(spec, current()))), { title: 'download these rows as CSV' }),
        button('JSON', () => save(`${name}.json`, 'application/json', json(spec.name, exported(spec, current()))), { title: 'download these rows as JSON' }),
      ),
    ),
    box,
  );
  const table = new Tabulator(box, {
    data: held(spec),
    columns: spec.columns.filter((column) => !column.hidden).map(definition),
    layout: 'fitColumns',
    // Measuring each row costs a layout of the page.
    rowHeight: kRowHeight,
    maxHeight: spec.height ?? 560,
    ...(spec.sort ? { initialSort: [{ column: spec.sort[0], dir: spec.sort[1] }] } : {}),
    columnDefaults: { headerSortTristate: false },
    rowFormatter: (row: { getElement(): HTMLElement }) => {
      if (spec.activate) row.getElement().tabIndex = 0;
    },
  } as object);
  current = () => table.getData('active').map((row: Held<T>) => row.source);
  table.on('tableBuilt', () => describe(box, spec.label));
  const { activate } = spec;
  if (activate) table.on('rowClick', (_event: unknown, row: { getData(): unknown }) => activate((row.getData() as Held<T>).source));
  walk(box);
  live.push(table);
}
