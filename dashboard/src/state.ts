// SPDX-License-Identifier: Apache-2.0
// What is looked at: the page, the filters, the runs, one series. All of it stands in the address, so
// that a link shows what its sender saw and Back goes back.

export const pages = [
  'changes', 'heatmap', 'history', 'config', 'compare', 'roofline', 'search', 'rivals', 'card',
] as const;
export type Page = (typeof pages)[number];

export const filterNames = ['card', 'model', 'shape', 'm', 'act', 'policy', 'provenance', 'verdict'] as const;
export type FilterName = (typeof filterNames)[number];
/** For each filter what may pass; empty: everything. */
export type Filters = Readonly<Record<FilterName, readonly string[]>>;

export const questions = ['same_config', 'best_config'] as const;
export type Question = (typeof questions)[number];

export interface State {
  readonly page: Page;
  readonly filters: Filters;
  readonly base: number | undefined;
  readonly run: number | undefined;
  readonly question: Question;
  /** The value that a page colours or plots; each page knows its own. */
  readonly show: string;
  /** seriesKey() of the series that one looks into. */
  readonly series: string;
}

export const noFilters: Filters = {
  card: [], model: [], shape: [], m: [], act: [], policy: [], provenance: [], verdict: [],
};

export const initialState: State = {
  page: 'changes', filters: noFilters, base: undefined, run: undefined, question: 'best_config', show: '', series: '',
};

// What separates the values of one filter; encoded where it is part of a value.
const kSeparator = ',';

/** "#/history?shape=4096x4096&m=1,8": defaults are left out, the order never changes. */
export function toHash(state: State): string {
  const parts: string[] = [];
  const put = (name: string, value: string): void => {
    if (value !== '') parts.push(`${name}=${value}`);
  };
  for (const name of filterNames) put(name, state.filters[name].map(encodeURIComponent).join(kSeparator));
  put('base', state.base === undefined ? '' : String(state.base));
  put('run', state.run === undefined ? '' : String(state.run));
  put('question', state.question === initialState.question ? '' : state.question);
  put('show', encodeURIComponent(state.show));
  put('series', encodeURIComponent(state.series));
  return `#/${state.page}${parts.length > 0 ? `?${parts.join('&')}` : ''}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

const oneOf = <T extends string>(list: readonly T[], text: string | undefined, otherwise: T): T =>
  list.find((candidate) => candidate === text) ?? otherwise;

/** Anything that makes no sense is left out: an address may be years old, or typed by hand. */
export function fromHash(hash: string): State {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  const given = new Map(
    query.split('&').filter(Boolean).map((part) => {
      const [name = '', value = ''] = part.split('=', 2);
      return [name, value] as const;
    }),
  );
  const run = (name: string): number | undefined => {
    const value = given.get(name);
    return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
  };
  const filters = Object.fromEntries(
    filterNames.map((name) => [name, (given.get(name) ?? '').split(kSeparator).map(decoded).filter(Boolean)]),
  ) as unknown as Filters;
  return {
    page: oneOf(pages, path, initialState.page),
    filters,
    base: run('base'),
    run: run('run'),
    question: oneOf(questions, given.get('question'), initialState.question),
    show: decoded(given.get('show') ?? ''),
    series: decoded(given.get('series') ?? ''),
  };
}
