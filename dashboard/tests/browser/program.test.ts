// SPDX-License-Identifier: Apache-2.0
// What `nvfp4-tune dashboard` puts into a page against the same database dropped on it: every page says
// the same, to the last digit but one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { Session, drawn, visit } from './page.ts';

const program = resolve(process.env['NVFP4_TUNE'] ?? '../build/nvfp4-tune');
const names = ['changes', 'heatmap', 'history', 'config', 'compare', 'roofline', 'search', 'rivals', 'card'];

let session: Session;
let page: Page;
let history: string;

before(async () => {
  session = await Session.open();
  history = join(session.folder, 'history.db');
  // It says on stderr what each run was compared with.
  execFileSync('sh', ['../examples/history.sh', history], { env: { ...process.env, NVFP4_TUNE: program }, stdio: 'pipe' });
  execFileSync(program, ['dashboard', '--out', session.folder, '--db', history], { stdio: 'pipe' });
  page = await session.page();
  await page.goto(pathToFileURL(join(session.folder, 'index.html')).href);
  await drawn(page);
});
after(() => session.close());

async function said(): Promise<string[]> {
  const texts: string[] = [];
  for (const name of names) {
    await visit(page, `#/${name}`);
    await drawn(page);
    texts.push(await page.locator('main').innerText());
  }
  return texts;
}

const number = /\d+(?:\.\d+)?/g;
const digits = (text: string): number => text.split('.')[1]?.length ?? 0;

/** What follows from the times has fewer digits in a page, so the last one shown may differ by one. */
function assertAlike(a: string, b: string, name: string): void {
  assert.equal(a.replaceAll(number, '#'), b.replaceAll(number, '#'), name);
  const [left, right] = [a.match(number) ?? [], b.match(number) ?? []];
  left.forEach((text, i) => assert.ok(Math.abs(Number(text) - Number(right[i])) <= 1.01 * 10 ** -digits(text), `${name}: ${text} and ${right[i]}`));
}

test('a page of the program says what the database says', async () => {
  const inside = await said();
  assert.match(await page.locator('.loaded').innerText(), /history\.db\s+[\d\s]+ measurements, 11 runs\s+.*schema 2/);
  const counted = (await page.locator('.loaded span').first().innerText());
  await page.setInputFiles('input[type=file]', history);
  await page.waitForFunction(() => performance.getEntriesByName('nvfp4-given').length === 1 && document.body.dataset['state'] === 'ready');
  const file = await said();
  assert.equal(await page.locator('.loaded span').first().innerText(), counted);
  names.forEach((name, i) => assertAlike(inside[i] ?? '', file[i] ?? '', name));
  assert.ok(inside.every((text) => text.length > 200), inside.map((text) => text.length).join());
});
