// SPDX-License-Identifier: Apache-2.0
// The filters: one disclosure each, with a list of boxes in it. All of it is plain HTML, so the
// keyboard and a screen reader know what to do.
import type { App } from '../app.ts';
import { button, el, on } from '../dom.ts';
import { type Choice, choices } from '../filter.ts';
import { type FilterName, filterNames, noFilters } from '../state.ts';
import { shown } from '../text.ts';

const titles: Record<FilterName, string> = {
  card: 'Card', model: 'Model', shape: 'Shape', m: 'M', act: 'Type', policy: 'Policy', provenance: 'Provenance', verdict: 'Verdict',
};

// A list that is longer than this gets a field that narrows it.
const kSearchable = 12;
const kListed = 400;

function boxes(app: App, name: FilterName, list: readonly Choice[]): HTMLElement {
  const chosen = new Set(app.state.filters[name]);
  return el(
    'div', { class: 'options' },
    ...list.slice(0, kListed).map(({ value, label }) => {
      const box = el('input', { type: 'checkbox', value, checked: chosen.has(value) });
      on(box, 'change', () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        app.go({ filters: { ...app.state.filters, [name]: [...chosen] } });
      });
      return el('label', {}, box, el('span', {}, shown(label, 60)));
    }),
    list.length > kListed && el('p', { class: 'quiet' }, `${list.length - kListed} more: type to find them`),
  );
}

function filter(app: App, name: FilterName, list: readonly Choice[], isOpen: boolean): HTMLElement {
  const chosen = app.state.filters[name];
  const labels = chosen.map((value) => list.find((one) => one.value === value)?.label ?? value);
  const said = labels.length === 0 ? 'all' : labels.length === 1 ? shown(labels[0] ?? '', 24) : `${labels.length} of ${list.length}`;
  let options = boxes(app, name, list);
  const find = el('input', { type: 'search', placeholder: 'find', 'aria-label': `find ${titles[name]}` });
  on(find, 'input', () => {
    const wanted = find.value.toLowerCase().replace(/[x*]/g, '×').replaceAll(' ', '');
    const matching = list.filter((one) => one.label.toLowerCase().replaceAll(' ', '').includes(wanted));
    const fresh = boxes(app, name, matching);
    options.replaceWith(fresh);
    options = fresh;
  });
  return el(
    'details', { class: chosen.length > 0 ? 'filter set' : 'filter', 'data-filter': name, open: isOpen },
    el('summary', {}, el('span', { class: 'name' }, titles[name]), el('span', { class: 'value' }, said)),
    el(
      'div', { class: 'menu' }, list.length > kSearchable && find, options,
      chosen.length > 0 && button('Clear', () => app.go({ filters: { ...app.state.filters, [name]: [] } })),
    ),
  );
}

/** `openName` stays open over a redraw, so that several boxes can be ticked. */
export function filterBar(app: App, openName: string | undefined): HTMLElement {
  const bar = el('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' });
  for (const name of filterNames) {
    const list = choices(name, app.data, app.all, app.models);
    // A filter with one value filters nothing.
    if (list.length < 2 && app.state.filters[name].length === 0) continue;
    bar.append(filter(app, name, list, name === openName));
  }
  if (filterNames.some((name) => app.state.filters[name].length > 0)) {
    bar.append(button('Clear all', () => app.go({ filters: noFilters }), { class: 'clear' }));
  }
  return bar;
}

/** Where the keyboard was, so that it is there again after a redraw. */
export function openFilter(): { name: string | undefined; focused: string | undefined } {
  const open = document.querySelector<HTMLElement>('.filters details[open]');
  const active = document.activeElement;
  return {
    name: open?.dataset['filter'],
    focused: active instanceof HTMLInputElement && active.type === 'checkbox' ? active.value : undefined,
  };
}

export function refocus(value: string | undefined): void {
  if (value === undefined) return;
  const boxes = document.querySelectorAll<HTMLInputElement>('.filters details[open] input[type=checkbox]');
  [...boxes].find((box) => box.value === value)?.focus();
}
