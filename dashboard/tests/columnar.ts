// SPDX-License-Identifier: Apache-2.0
// The tables of a database as tuner/dashboard_data.cpp writes them into a page. That the program
// and the page agree, tests/browser/program.test.ts shows with what the program itself wrote.
import type { Database, SqlValue } from 'sql.js';

const widths = { u8: 1, u16: 2, u32: 4, f32: 4, f64: 8 } as const;
type Type = keyof typeof widths;

interface Encoded {
  readonly header: { readonly name: string; readonly type: Type; readonly words?: readonly string[] };
  readonly planes: Uint8Array;
}

function typeOf(values: readonly number[]): Type {
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  if (values.every((value) => Number.isInteger(value) && value >= 0 && !Object.is(value, -0)) && most < 2 ** 32) return most < 2 ** 8 ? 'u8' : most < 2 ** 16 ? 'u16' : 'u32';
  return values.every((value) => Object.is(Math.fround(value), value)) ? 'f32' : 'f64';
}

function planes(values: readonly number[], type: Type): Uint8Array {
  const width = widths[type];
  const made = new Uint8Array(values.length * width);
  const one = new DataView(new ArrayBuffer(8));
  const write = { u8: one.setUint8, u16: one.setUint16, u32: one.setUint32, f32: one.setFloat32, f64: one.setFloat64 }[type];
  values.forEach((value, i) => {
    write.call(one, 0, value, true);
    for (let byte = 0; byte < width; ++byte) made[byte * values.length + i] = one.getUint8(byte);
  });
  return made;
}

function encoded(name: string, values: readonly SqlValue[], isText: boolean): Encoded {
  if (!isText) {
    const numbers = values.map((value) => (value === null ? Number.NaN : (value as number)));
    const type = typeOf(numbers);
    return { header: { name, type }, planes: planes(numbers, type) };
  }
  const words = [...new Set(values.map(String))];
  const at = new Map(words.map((word, i) => [word, i]));
  const numbers = values.map((value) => at.get(String(value)) as number);
  const type = typeOf(numbers);
  return { header: { name, type, words }, planes: planes(numbers, type) };
}

function columnsOf(database: Database, table: string): { rows: number; columns: Encoded[] } {
  const described = database.exec(`PRAGMA table_info(${table})`)[0]?.values ?? [];
  const stored = described.filter(([, name, type]) => type !== 'BLOB' && name !== 'checksum');
  const values: SqlValue[][] = stored.map(() => []);
  const statement = database.prepare(`SELECT ${stored.map(([, name]) => name).join(', ')} FROM ${table} ORDER BY id`);
  while (statement.step()) statement.get().forEach((value, i) => values[i]?.push(value));
  statement.free();
  return { rows: values[0]?.length ?? 0, columns: stored.map(([, name, type], i) => encoded(String(name), values[i] ?? [], type === 'TEXT')) };
}

export function columnar(database: Database): Uint8Array {
  const names = database.exec("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")[0]?.values.map(String) ?? [];
  const tables = names.map((name) => [name, columnsOf(database, name)] as const);
  const schema = Number(database.exec('PRAGMA user_version')[0]?.values[0]?.[0]);
  const described = tables.map(([name, { rows, columns }]) => [name, { rows, columns: columns.map(({ header }) => header) }] as const);
  const header = Buffer.from(JSON.stringify({ schema, tables: Object.fromEntries(described) }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  return Buffer.concat([Buffer.from('nvfp4col'), length, header, ...tables.flatMap(([, { columns }]) => columns.map((column) => column.planes))]);
}
