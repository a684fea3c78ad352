// SPDX-License-Identifier: Apache-2.0
// Rows of one table, column by column and defensively: a column that an older version lacks takes its
// default, a value of another type makes the row unusable and not the file.
import type { Database } from 'sql.js';

export type Cell = string | number | null;

export interface Column {
  readonly name: string;
  readonly type: 'number' | 'text';
  /** What a database of an older version means by not having it. */
  readonly absent?: Cell;
  /** May be NULL. */
  readonly optional?: boolean;
  /** Texts that come as their position in this list: decoding a short text costs more than a number. */
  readonly words?: readonly string[];
}

export const number = (name: string, absent?: number): Column => ({ name, type: 'number', absent });
export const text = (name: string, absent?: string): Column => ({ name, type: 'text', absent });
export const word = (name: string, words: readonly string[]): Column => ({ name, type: 'text', words });
export const optional = (column: Column): Column => ({ ...column, optional: true });

/** Long texts are cut where they are read: nobody reads a megabyte, and a page that held it would crawl. */
const kLongestText = 2048;

function columnNames(database: Database, table: string): Set<string> {
  const found = database.exec(`PRAGMA table_info(${table})`);
  return new Set(found[0]?.values.map((row) => String(row[1])) ?? []);
}

function expression(column: Column, present: Set<string>): string {
  if (!present.has(column.name)) {
    if (column.absent === undefined) throw new Error(`malformed: column ${column.name} is missing`);
    return typeof column.absent === 'string' ? `'${column.absent}'` : String(column.absent);
  }
  if (column.type === 'number') return column.name;
  const cut = `substr(${column.name}, 1, ${kLongestText})`;
  if (!column.words) return cut;
  return `CASE ${column.name} ${column.words.map((known, i) => `WHEN '${known}' THEN ${i}`).join(' ')} ELSE ${cut} END`;
}

const kNumber = 1;
const kText = 2;
const kNull = 4;

function accepted(column: Column): number {
  const main = column.type === 'number' ? kNumber : column.words ? kText | kNumber : kText;
  return column.optional ? main | kNull : main;
}

// Small integers and a plain loop: this runs millions of times for 200,000 measurements.
function usable(row: readonly Cell[], accepts: Uint8Array): boolean {
  for (let i = 0; i < accepts.length; ++i) {
    const value = row[i] as Cell;
    const kind = typeof value === 'number' ? (value - value === 0 ? kNumber : 0) : value === null ? kNull : kText;
    if (((accepts[i] as number) & kind) === 0) return false;
  }
  return true;
}

/** Visits rows in id order; returns how many were unusable. A table that is not there has no rows. */
export function scan(
  database: Database,
  table: string,
  columns: readonly Column[],
  visit: (row: Cell[]) => boolean | void,
): number {
  const present = columnNames(database, table);
  if (present.size === 0) return 0;
  const list = columns.map((column) => expression(column, present)).join(', ');
  const accepts = Uint8Array.from(columns, accepted);
  const statement = database.prepare(`SELECT ${list} FROM ${table} ORDER BY id`);
  let skipped = 0;
  try {
    while (statement.step()) {
      const row = statement.get() as Cell[];
      if (!usable(row, accepts) || visit(row) === false) ++skipped;
    }
  } finally {
    statement.free();
  }
  return skipped;
}
