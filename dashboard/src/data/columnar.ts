// SPDX-License-Identifier: Apache-2.0
// Tables as `nvfp4-tune dashboard` puts them into a page (tuner/dashboard_data.h): column by column, and
// of each column first the lowest byte of every row, then the next. Measurements compress to a third of
// what an SQLite file of them does, and are read back without it.
import { type Cell, type Column, type Tables, absentCell, kLongestText } from './tables.ts';

const kMagic = 'nvfp4col';
const kHeaderAt = kMagic.length + 4;

const arrays = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f32: Float32Array, f64: Float64Array } as const;

interface Stored {
  readonly name: string;
  readonly type: keyof typeof arrays;
  /** Of a text column: what its numbers are positions in. */
  readonly words?: readonly string[];
  /** Where its bytes begin. */
  at: number;
}

interface StoredTable {
  readonly rows: number;
  readonly columns: readonly Stored[];
}

interface Header {
  readonly schema: number;
  readonly tables: Readonly<Record<string, StoredTable>>;
}

/** Values of one column: numbers, NaN for NULL, or what they stand for. */
interface Values {
  readonly numbers: Uint8Array | Float64Array;
  readonly words: readonly Cell[] | undefined;
  readonly optional: boolean;
}

export const isColumnar = (bytes: Uint8Array): boolean =>
  bytes.length >= kHeaderAt && [...kMagic].every((letter, i) => bytes[i] === letter.charCodeAt(0));

// Half of a pair would be no text.
const cut = (text: string): string => (text.length > kLongestText ? text.slice(0, kLongestText).replace(/[\ud800-\udbff]$/, '') : text);

/** False where a cell is unusable. */
function fill(row: Cell[], values: readonly Values[], i: number): boolean {
  for (let c = 0; c < values.length; ++c) {
    const { numbers, words, optional } = values[c] as Values;
    const value = numbers[i] as number;
    const cell = words ? words[value] : value - value === 0 ? value : null;
    if (cell === undefined || (cell === null && !optional)) return false;
    row[c] = cell;
  }
  return true;
}

export class ColumnarTables implements Tables {
  readonly size: number;
  private readonly header: Header;

  /** Throws where the bytes are not as long as they say. */
  constructor(private readonly bytes: Uint8Array) {
    this.size = bytes.length;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(kMagic.length, true);
    this.header = JSON.parse(new TextDecoder().decode(bytes.subarray(kHeaderAt, kHeaderAt + length))) as Header;
    let at = kHeaderAt + length;
    for (const { rows, columns } of Object.values(this.header.tables)) {
      for (const column of columns) {
        column.at = at;
        at += rows * arrays[column.type].BYTES_PER_ELEMENT;
      }
    }
    if (at !== bytes.length) throw new Error(`malformed: ${bytes.length} bytes and not ${at}`);
  }

  get version(): number {
    return this.header.schema;
  }

  mostRows(table: string): number {
    return this.header.tables[table]?.rows ?? 0;
  }

  scan(table: string, columns: readonly Column[], visit: (row: Cell[]) => boolean | void): number {
    const stored = this.header.tables[table];
    if (!stored) return 0;
    const values = columns.map((column) => this.values(stored, column));
    // One array for all rows: visitors take cells out of it and keep none of it.
    const row: Cell[] = columns.map(() => null);
    let skipped = 0;
    for (let i = 0; i < stored.rows; ++i) if (!fill(row, values, i) || visit(row) === false) ++skipped;
    return skipped;
  }

  textOf(table: string, column: string, id: number): string {
    const stored = this.header.tables[table];
    const [ids, texts] = ['id', column].map((name) => stored?.columns.find((one) => one.name === name));
    if (!stored || !ids || !texts) return '';
    const position = this.decoded(ids, stored.rows).indexOf(id);
    return position < 0 ? '' : cut(texts.words?.[this.decoded(texts, stored.rows)[position] as number] ?? '');
  }

  close(): void {}

  private values({ rows, columns }: StoredTable, column: Column): Values {
    const optional = column.optional ?? false;
    const stored = columns.find((one) => one.name === column.name);
    if (!stored) return { numbers: new Float64Array(rows), words: [absentCell(column)], optional };
    if ((stored.words !== undefined) !== (column.type === 'text')) throw new Error(`malformed: column ${column.name} is no ${column.type}`);
    const known = new Map(column.words?.map((word, i) => [word, i]));
    const words = stored.words?.map((word) => known.get(word) ?? cut(word));
    return { numbers: this.decoded(stored, rows), words, optional };
  }

  private decoded({ type, at }: Stored, rows: number): Uint8Array | Float64Array {
    if (type === 'u8') return this.bytes.subarray(at, at + rows);
    const array = new arrays[type](rows);
    const together = new Uint8Array(array.buffer);
    const width = array.BYTES_PER_ELEMENT;
    for (let byte = 0; byte < width; ++byte) {
      const plane = at + byte * rows;
      for (let i = 0; i < rows; ++i) together[i * width + byte] = this.bytes[plane + i] as number;
    }
    return array instanceof Float64Array ? array : new Float64Array(array);
  }
}
