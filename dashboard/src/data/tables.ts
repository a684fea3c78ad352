// SPDX-License-Identifier: Apache-2.0
// What load.ts asks of a database: rows of named columns, whichever way they are stored. A column that
// an older version lacks takes its default, an unusable value costs its row and not the file.

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
export const kLongestText = 2048;

/** What a column that is not stored holds in every row. */
export function absentCell(column: Column): Cell {
  if (column.absent === undefined) throw new Error(`malformed: column ${column.name} is missing`);
  return column.absent;
}

/** An open database. */
export interface Tables {
  /** Bytes that were read to open it. */
  readonly size: number;
  readonly version: number;
  /** No fewer than the table has rows. */
  mostRows(table: string): number;
  /** Visits rows in id order; returns how many were unusable. A table that is not there has no rows. */
  scan(table: string, columns: readonly Column[], visit: (row: Cell[]) => boolean | void): number;
  /** One text of the row with this id, cut; empty where there is none. */
  textOf(table: string, column: string, id: number): string;
  close(): void;
}
