// SPDX-License-Identifier: Apache-2.0
// The small parts that pages share: a labelled select, a switch of a few choices, a figure with its
// name, text to copy, and what to say where there is nothing to show.
import type { App } from '../app.ts';
import type { Run } from '../data/dataset.ts';
import { type Child, button, el, on } from '../dom.ts';
import { date, shown } from '../text.ts';

export interface Option {
  readonly value: string;
  readonly label: string;
}

export function select(label: string, options: readonly Option[], value: string, change: (value: string) => void): HTMLElement {
  const box = el('select', { 'aria-label': label }, ...options.map((option) => el('option', { value: option.value, selected: option.value === value }, option.label)));
  on(box, 'change', () => change(box.value));
  return el('label', { class: 'field' }, el('span', {}, label), box);
}

export function choice(label: string, options: readonly Option[], value: string, change: (value: string) => void): HTMLElement {
  return el(
    'div', { class: 'choice', role: 'group', 'aria-label': label },
    ...options.map((option) => button(option.label, () => change(option.value), { 'aria-pressed': String(option.value === value) })),
  );
}

export function figure(name: string, value: Child, more = '', tone = ''): HTMLElement {
  return el('div', { class: `figure ${tone}` }, el('span', { class: 'name' }, name), el('span', { class: 'value' }, value), more !== '' && el('span', { class: 'more' }, more));
}

export function empty(what: string, remedy: string, ...commands: string[]): HTMLElement {
  return el('div', { class: 'empty' }, el('h2', {}, what), el('p', {}, remedy), ...commands.map((command) => copyable(command)));
}

/** A command with a button that copies it. */
export function copyable(command: string): HTMLElement {
  const copy = button('Copy', async () => {
    await navigator.clipboard?.writeText(command).catch(() => undefined);
    copy.textContent = 'Copied';
    setTimeout(() => (copy.textContent = 'Copy'), 1500);
  });
  return el('div', { class: 'command' }, el('code', { tabindex: 0 }, command), copy);
}

export function runLabel(run: Run): string {
  return [`#${run.id}`, shown(run.commit, 12), date(run.date), shown(run.purpose, 10)].filter(Boolean).join(' · ');
}

export const shortRun = (run: Run): string => (run.commit === '' ? `#${run.id}` : `#${run.id} ${shown(run.commit, 9)}`);

/** The runs that concern the filtered cards, newest first. */
export function runOptions(app: App, runs: readonly Run[] = app.data.runs): Option[] {
  const cards = app.state.filters.card;
  return runs
    .filter((run) => cards.length === 0 || cards.includes(String(run.device.id)))
    .map((run) => ({ value: String(run.id), label: runLabel(run) }))
    .reverse();
}

export function panel(title: string, ...children: Child[]): HTMLElement {
  return el('section', { class: 'panel' }, title !== '' && el('h2', {}, title), ...children);
}
