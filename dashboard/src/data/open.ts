// SPDX-License-Identifier: Apache-2.0
// From bytes to an open database. The bytes may come from anyone: what is not a tuning database is
// refused with a line that says why and one that says what to do.
import initSqlJs, { type Database } from 'sql.js';
import wasmUrl from 'sql.js/dist/sql-wasm-browser.wasm?url&inline';
import { ColumnarTables, isColumnar } from './columnar.ts';
import { SqliteTables } from './sqlite.ts';
import type { Tables } from './tables.ts';

/** A file that cannot be shown: what is wrong with it, and what helps. */
export class Unreadable extends Error {
  constructor(
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

const kApplicationId = 0x6e766634;
const kNewestVersion = 2;
const kTables = ['device', 'toolchain', 'problem', 'kernel', 'run', 'measurement', 'winner'];
const kOther = 'Choose a database of nvfp4-tune; "nvfp4-tune db path" prints where yours is.';
// Checking every page of a larger file costs more than it tells: a broken one fails while it is read.
const kCheckedBytes = 8 << 20;

let engine: ReturnType<typeof initSqlJs> | undefined;

function scalar(database: Database, sql: string): unknown {
  return database.exec(sql)[0]?.values[0]?.[0];
}

/** Names of real tables. A view or a virtual table in the place of one could run for ever. */
function tables(database: Database): Set<string> {
  const found = database.exec(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'",
  );
  return new Set(found[0]?.values.map((row) => String(row[0])) ?? []);
}

function check(database: Database, size: number): number {
  const application = Number(scalar(database, 'PRAGMA application_id'));
  const version = Number(scalar(database, 'PRAGMA user_version'));
  if (application !== kApplicationId) {
    throw new Unreadable('This SQLite file belongs to another program.', kOther);
  }
  if (version > kNewestVersion) {
    throw new Unreadable(
      `Its schema version ${version} is newer than ${kNewestVersion}, which this page reads.`,
      'Make the page again with the nvfp4-tune that wrote the file.',
    );
  }
  const present = tables(database);
  const missing = kTables.filter((table) => !present.has(table));
  if (version < 1 || missing.length > 0) {
    throw new Unreadable(`It lacks the tables ${missing.join(', ') || 'of any known version'}.`, kOther);
  }
  if (size <= kCheckedBytes && scalar(database, 'PRAGMA quick_check(1)') !== 'ok') {
    throw new Unreadable('The file is damaged: its pages contradict each other.', damagedRemedy);
  }
  return version;
}

const damagedRemedy = 'Copy it again while no tuner writes to it, or restore it from a backup.';

export const damagedPage = (): Unreadable => new Unreadable('The data inside this page is damaged.', 'Make the page again with "nvfp4-tune dashboard".');

function openColumnar(bytes: Uint8Array): Tables {
  try {
    return new ColumnarTables(bytes);
  } catch {
    throw damagedPage();
  }
}

export async function openTables(bytes: Uint8Array): Promise<Tables> {
  if (bytes.length === 0) throw new Unreadable('The file is empty.', kOther);
  if (isColumnar(bytes)) return openColumnar(bytes);
  engine ??= initSqlJs({ locateFile: () => wasmUrl });
  const sql = await engine;
  let database: Database | undefined;
  try {
    database = new sql.Database(bytes);
    // A cache that holds the whole file: some columns are read later than the rest.
    database.exec('PRAGMA trusted_schema=OFF; PRAGMA cache_size=-131072');
    check(database, bytes.length);
    return new SqliteTables(database, bytes.length);
  } catch (error) {
    database?.close();
    throw unreadable(error);
  }
}

/** SQLite's own complaints in our words. */
export function unreadable(error: unknown): Unreadable {
  if (error instanceof Unreadable) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (/not a database/.test(text)) return new Unreadable('This is no SQLite database.', kOther);
  if (/malformed|corrupt|disk I\/O/.test(text)) {
    return new Unreadable(`The file is damaged (${text}).`, damagedRemedy);
  }
  return new Unreadable(`It cannot be read: ${text}`, kOther);
}
