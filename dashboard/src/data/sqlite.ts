// SPDX-License-Identifier: Apache-2.0
// Tables of an SQLite file, read defensively: it may come from anyone.
import type { Database } from 'sql.js';
import { type Cell, type Column, type Tables, absentCell, kLongestText } from './tables.ts';

function expression(column: Column, present: Set<string>): string {
  if (!present.has(column.name)) {
    const absent = absentCell(column);
    return typeof absent === 'string' ? `'${absent}'` : String(absent);
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

// A row of any table takes more bytes than this in any file.
const kLeastBytes = 32;

export class SqliteTables implements Tables {
  constructor(
    private readonly database: Database,
    readonly size: number,
  ) {}

  get version(): number {
    return Number(this.scalar('PRAGMA user_version'));
  }

  mostRows(table: string): number {
    const highest = Number(this.scalar(`SELECT max(id) FROM ${table}`) ?? 0);
    return Math.max(0, Math.min(highest, Math.ceil(this.size / kLeastBytes)));
  }

  scan(table: string, columns: readonly Column[], visit: (row: Cell[]) => boolean | void): number {
    const present = this.columnNames(table);
    if (present.size === 0) return 0;
    const list = columns.map((column) => expression(column, present)).join(', ');
    const accepts = Uint8Array.from(columns, accepted);
    const statement = this.database.prepare(`SELECT ${list} FROM ${table} ORDER BY id`);
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

  textOf(table: string, column: string, id: number): string {
    return String(this.scalar(`SELECT substr(${column}, 1, ${kLongestText}) FROM ${table} WHERE id = ?`, id) ?? '');
  }

  close(): void {
    this.database.close();
  }

  private scalar(sql: string, ...parameters: number[]): unknown {
    return this.database.exec(sql, parameters)[0]?.values[0]?.[0];
  }

  private columnNames(table: string): Set<string> {
    const found = this.database.exec(`PRAGMA table_info(${table})`);
    return new Set(found[0]?.values.map((row) => String(row[1])) ?? []);
  }
}
