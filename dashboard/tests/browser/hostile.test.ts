// SPDX-License-Identifier: Apache-2.0
// Files from strangers: names that would be markup, that turn the text round, that are a megabyte
// long; files that are broken, foreign, too new, empty.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Page } from 'playwright-core';
import { columnar } from '../columnar.ts';
import { emptyDatabase, fixture } from '../fixture.ts';
import { Session, drawn, visit } from './page.ts';

const pages = ['changes', 'heatmap', 'history', 'config', 'compare', 'roofline', 'search', 'rivals', 'card'];
const markup = `<script>window.stolen=1</script><img src=x onerror="window.stolen=1">'"\`--><svg onload=window.stolen=1>`;
const turned = '\u202etxt.exe\u202c\u2066\u200f';

let session: Session;
let page: Page;

before(async () => {
  session = await Session.open();
  page = await session.page();
});
after(() => session.close());

/** Drops a file on the page as a browser would. */
async function drop(bytes: Uint8Array, name: string): Promise<void> {
  const data = await page.evaluateHandle(([base64, file]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(base64 as string), (c) => c.charCodeAt(0))], file as string));
    return transfer;
  }, [Buffer.from(bytes).toString('base64'), name]);
  await page.dispatchEvent('body', 'drop', { dataTransfer: data });
}

async function refused(bytes: Uint8Array, message: RegExp): Promise<void> {
  await page.goto(Session.plainPage);
  await drawn(page, 'empty');
  await drop(bytes, 'given.db');
  await drawn(page, 'problem');
  const said = await page.locator('.problem').innerText();
  assert.match(said, message);
  assert.ok(said.split('\n').filter(Boolean).length === 2, 'what is wrong, and what to do');
}

test('without data the page says how to give it some', async () => {
  await page.goto(Session.plainPage);
  await drawn(page, 'empty');
  assert.match(await page.locator('main').innerText(), /Drop a tuning database here[\s\S]*nvfp4-tune db path/);
});

test('a dropped database is drawn, and another one takes its place', async () => {
  await page.goto(Session.plainPage);
  await drawn(page, 'empty');
  await drop((await fixture({ runs: 3 })).export(), 'first.db');
  await drawn(page);
  await drop((await fixture({ runs: 2, tokens: [1] })).export(), 'second.db');
  await page.getByText('second.db').waitFor();
  assert.match(await page.locator('.loaded').innerText(), /120 measurements, 2 runs/);
});

test('a database in parts is damaged, empty or no database, and the page says which', async () => {
  const good = (await fixture({ runs: 2 })).export();
  await refused(new Uint8Array(0), /empty/);
  await refused(new TextEncoder().encode('hello'), /no SQLite database/);
  await refused(good.slice(0, good.length >> 1), /damaged/);
  const broken = good.slice();
  broken.fill(0x5a, 8192, good.length - 4096);
  await refused(broken, /damaged/);
});

test('data inside a page that is cut, foreign or contradicts itself is refused', async () => {
  const good = columnar(await fixture({ runs: 2 }));
  const lying = good.slice();
  lying[8] = (lying[8] as number) ^ 1;
  for (const bytes of [gzipSync(good).subarray(0, 5000), gzipSync(good.subarray(0, -1)), gzipSync(lying), good]) {
    await page.goto(session.withBytes(bytes));
    await drawn(page, 'problem');
    assert.match(await page.locator('.problem').innerText(), /The data inside this page is damaged\.\s+Make the page again with "nvfp4-tune dashboard"/);
  }
});

test('a foreign, a newer and an incomplete database are refused by name', async () => {
  const foreign = await emptyDatabase();
  foreign.run('PRAGMA application_id = 7');
  await refused(foreign.export(), /another program/);
  const newer = await emptyDatabase();
  newer.run('PRAGMA user_version = 3');
  await refused(newer.export(), /schema version 3 is newer than 2/);
  const incomplete = await emptyDatabase();
  incomplete.run('DROP TABLE winner');
  await refused(incomplete.export(), /lacks the tables winner/);
});

test('a view in the place of a table is not asked: it could run for ever', async () => {
  const database = await emptyDatabase();
  database.run('DROP TABLE measurement; CREATE VIEW measurement AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n');
  await refused(database.export(), /lacks the tables measurement/);
});

test('after a refusal the page takes a good file', async () => {
  await drop((await fixture({ runs: 2 })).export(), 'good.db');
  await drawn(page);
  assert.match(await page.locator('.loaded').innerText(), /good\.db/);
});

test('hostile names make no element, run nothing, and leave the layout whole', async () => {
  const database = await fixture({ runs: 4, tokens: [1, 64] });
  const long = `${markup}${turned}${'W'.repeat(1 << 20)}`;
  for (const [table, columns] of Object.entries({
    device: ['arch'], toolchain: ['nvrtc', 'driver', 'template_digest'], run: ['device_name', 'command', 'date', 'purpose', 'source_commit', 'driver_release'],
    kernel: ['config', 'code_hash'], problem: ['act', 'kind'], measurement: ['text'], comparison: ['reason'], rival: ['name'],
  })) {
    // One row in full length; a short one in all others.
    for (const column of columns) {
      database.run(`UPDATE ${table} SET ${column} = ?`, [`${markup}${turned}`]);
      database.run(`UPDATE ${table} SET ${column} = ? WHERE id = (SELECT max(id) FROM ${table})`, [long]);
    }
  }
  await page.goto(session.withData(database));
  await drawn(page);
  for (const name of pages) {
    await visit(page, `#/${name}`);
    await drawn(page);
    const found = await page.evaluate(() => ({
      stolen: 'stolen' in window,
      foreign: document.querySelectorAll('img, iframe, object, embed, svg [onload], [onerror], [onload], body script:not([type])').length,
      wide: document.documentElement.scrollWidth > innerWidth,
      turning: /[\u202a-\u202e\u2066-\u2069]/.test(document.body.innerText),
      longest: Math.max(...[...document.querySelectorAll('main *')].map((element) => (element.childElementCount === 0 ? (element.textContent ?? '').length : 0))),
    }));
    assert.deepEqual({ ...found, longest: found.longest < 1000 }, { stolen: false, foreign: 0, wide: false, turning: false, longest: true }, name);
  }
  await visit(page, '#/search');
  await page.locator('.tabulator-row').first().click();
  const commands = await page.locator('dialog .command code').allInnerTexts();
  assert.ok(commands.every((command) => !command.includes('script')), commands.join('\n'));
  assert.equal(await page.evaluate(() => 'stolen' in window), false);
});

test('an address that makes no sense shows the landing page', async () => {
  await page.goto(`${session.withData(await fixture({ runs: 2 }))}#/nowhere?shape=%E0%A4%A&run=abc&series=<script>&m=%00`);
  await drawn(page);
  assert.match(await page.locator('h1').innerText(), /What changed/);
});
