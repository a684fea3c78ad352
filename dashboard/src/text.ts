// SPDX-License-Identifier: Apache-2.0
// How numbers and words are written. Text of a database is cut and made harmless before it is shown:
// control and bidirectional characters would reorder what stands around them.

const kLongest = 160;
// C0, C1, and what changes direction or has no width.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const kUnprintable = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text of a database as it is shown: one short line of visible characters. */
export function shown(text: string, longest = kLongest): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return cut.replace(kUnprintable, '\ufffd');
}

const minus = (text: string): string => text.replace('-', '−');
export const unknown = '–';

/** A number with fixed decimals, so that columns align on the point. Zero stands for unknown. */
export function fixed(value: number, decimals: number): string {
  return Number.isFinite(value) && value !== 0 ? minus(value.toFixed(decimals)) : unknown;
}

export const us = (value: number): string => fixed(value, 2);

export function integer(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, '\u2009');
}

/** 1.034 as "+3.4 %". */
export function change(ratio: number, decimals = 1): string {
  if (!(ratio > 0) || !Number.isFinite(ratio)) return unknown;
  const percent = (ratio - 1) * 100;
  const digits = Math.abs(percent).toFixed(decimals);
  const sign = Number(digits) === 0 ? '±' : percent < 0 ? '−' : '+';
  return `${sign}${digits} %`;
}

export function bytes(value: number): string {
  if (!(value > 0)) return unknown;
  const [scale, unit] = value >= 1e9 ? [1e9, 'GB'] : value >= 1e6 ? [1e6, 'MB'] : value >= 1e3 ? [1e3, 'kB'] : [1, 'B'];
  return `${(value / scale).toFixed(unit === 'B' ? 0 : 1)} ${unit}`;
}

/** "1 run", "2 runs", "3 series". */
export const counted = (count: number, word: string): string =>
  `${integer(count)} ${word}${count === 1 || word.endsWith('s') ? '' : 's'}`;

/** "2026-11-27 20:39" of an ISO date; anything else as it stands. */
export function date(text: string): string {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/.exec(text);
  return match ? `${match[1]} ${match[2]}` : shown(text, 24);
}
