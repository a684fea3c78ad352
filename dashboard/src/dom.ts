// SPDX-License-Identifier: Apache-2.0
// Elements are made here and nowhere else. Text goes in as text: nothing of a database is ever
// parsed as markup.

type Handler<E extends Event> = (event: E) => void;
export type Child = Node | string | null | undefined | false;

export interface Attributes {
  [name: string]: string | number | boolean | null | undefined;
}

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) if (child) element.append(child);
}

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  fill(element, attributes, children);
  return element;
}

export function on<E extends HTMLElement, K extends keyof HTMLElementEventMap>(
  element: E,
  type: K,
  handler: Handler<HTMLElementEventMap[K]>,
): E {
  element.addEventListener(type, handler as EventListener);
  return element;
}

export function button(label: Child, action: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return on(el('button', { type: 'button', ...attributes }, label), 'click', action);
}
