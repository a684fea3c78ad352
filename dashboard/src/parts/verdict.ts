// SPDX-License-Identifier: Apache-2.0
// Verdicts as a symbol, a word and a colour: any one of the three is enough to read them.
import { el } from '../dom.ts';
import { shown } from '../text.ts';

interface Look {
  readonly symbol: string;
  readonly tone: 'faster' | 'slower' | 'quiet' | 'doubt' | 'broken';
  readonly rank: number;
}

const looks = new Map<string, Look>([
  ['broken', { symbol: '✕', tone: 'broken', rank: 0 }],
  ['slower', { symbol: '▼', tone: 'slower', rank: 1 }],
  ['faster', { symbol: '▲', tone: 'faster', rank: 2 }],
  ['ambiguous', { symbol: '?', tone: 'doubt', rank: 3 }],
  ['same', { symbol: '=', tone: 'quiet', rank: 4 }],
  ['unchanged', { symbol: '≡', tone: 'quiet', rank: 5 }],
  ['missing', { symbol: '−', tone: 'doubt', rank: 6 }],
  ['added', { symbol: '+', tone: 'quiet', rank: 7 }],
  ['ok', { symbol: '✓', tone: 'quiet', rank: 8 }],
]);

const failure: Look = { symbol: '✕', tone: 'broken', rank: 9 };
const look = (verdict: string): Look => looks.get(verdict) ?? failure;

/** The order in which one wants to read them: what hurts first. */
export const verdictRank = (verdict: string): number => look(verdict).rank;
export const verdictTone = (verdict: string): Look['tone'] => look(verdict).tone;
export const verdictSymbol = (verdict: string): string => look(verdict).symbol;

export function verdictMark(verdict: string): HTMLElement {
  return el(
    'span', { class: `verdict ${look(verdict).tone}` },
    el('span', { class: 'symbol', 'aria-hidden': 'true' }, look(verdict).symbol), shown(verdict.replaceAll('_', ' '), 24),
  );
}

export const modelledMark = (): HTMLElement =>
  el('span', { class: 'modelled', title: 'predicted by the cost model, not measured' }, 'modelled');
