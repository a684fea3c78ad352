// SPDX-License-Identifier: Apache-2.0
// Tables as files. Names come from files of others: what a spreadsheet would take for a formula gets
// an apostrophe, as in the program's own CSV.

export type Exported = Record<string, string | number | boolean | null>;

function quoted(value: string | number | boolean | null): string {
  if (value === null) return '';
  if (typeof value !== 'string') return String(value);
  const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

export function csv(rows: readonly Exported[]): string {
  const names = Object.keys(rows[0] ?? {});
  const lines = rows.map((row) => names.map((name) => quoted(row[name] ?? null)).join(','));
  return [names.join(','), ...lines, ''].join('\n');
}

export function json(name: string, rows: readonly Exported[]): string {
  return `${JSON.stringify({ schema: 1, table: name, rows }, null, 2)}\n`;
}

export function save(name: string, type: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
