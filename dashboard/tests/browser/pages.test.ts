// SPDX-License-Identifier: Apache-2.0
// Every page of the built file, driven as a user would: from file://, with a mouse, the keyboard and
// dropped files. Screenshots of both themes and two widths are left for people to look at.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import type { Database } from 'sql.js';
import { fixture } from '../fixture.ts';
import { Session, builtPage, drawn, screenshots, visit } from './page.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const names = ['changes', 'heatmap', 'history', 'config', 'compare', 'roofline', 'search', 'rivals', 'card'];
const series = encodeURIComponent('1~4096x4096~bf16~8~graph+pdl~measured');
const models = [{ name: 'tiny', gemms: [{ n: 4096, k: 4096, experts: 0, count: 32 }] }];

let database: Database;
let session: Session;
let page: Page;
const complaints: string[] = [];

async function open(given: Session, address: string): Promise<Page> {
  const opened = await given.page();
  opened.on('pageerror', (error) => complaints.push(String(error)));
  opened.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  await opened.goto(address);
  return opened;
}

before(async () => {
  database = await fixture();
  session = await Session.open();
  page = await open(session, session.withData(database, models));
  await drawn(page);
});
after(() => session.close());

const text = (selector: string): Promise<string> => page.locator(selector).first().innerText();
const go = async (hash: string): Promise<void> => {
  await visit(page, hash);
  await drawn(page);
};

test('the landing page says what got slower, hardest hit first', async () => {
  assert.match(await text('.figure.slower'), /slower\s+14/);
  const impacts = await page.locator('.tabulator-row').evaluateAll((rows) => rows.slice(0, 8).map((row) => Math.abs(Number(row.querySelector('[tabulator-field=impact_us]')?.textContent?.replace('−', '-')))));
  assert.deepEqual(impacts, impacts.toSorted((a, b) => b - a));
  assert.ok((impacts[0] ?? 0) > 0);
  assert.equal(await page.locator('.tabulator-row svg.spark').first().count(), 1);
});

test('the two questions have two answers', async () => {
  await page.getByRole('button', { name: 'Same config, measured again' }).click();
  await drawn(page);
  assert.match(page.url(), /question=same_config/);
  assert.match(await text('.figure'), /slower\s+0/);
});

test('a verdict filter leaves nothing else, and stands in the address', async () => {
  await go('#/changes');
  await page.locator('[data-filter=verdict] summary').click();
  await page.getByLabel('faster').check();
  await drawn(page);
  assert.match(page.url(), /verdict=faster/);
  const verdicts = await page.locator('.tabulator-row .verdict').allInnerTexts();
  assert.ok(verdicts.length > 0 && verdicts.every((verdict) => verdict.includes('faster')));
  await page.getByRole('button', { name: 'Clear all' }).click();
  assert.doesNotMatch(page.url(), /verdict/);
});

test('a model weighs a change by how often its shapes run', async () => {
  await go('#/changes?model=tiny');
  const shapes = await page.locator('.tabulator-row [tabulator-field=shape]').allInnerTexts();
  assert.ok(shapes.length > 0 && shapes.every((shape) => shape === '4096 × 4096'));
  assert.match(await text('.note'), /a pass through 1 chosen model/);
});

test('a cell of the heat map opens the history of its series', async () => {
  await go('#/heatmap?policy=graph%2Bpdl');
  assert.equal(await page.locator('.heatmap tbody tr').count(), 10);
  await page.locator(`[data-series="${decodeURIComponent(series)}"]`).click();
  await drawn(page);
  assert.match(page.url(), /#\/history\?.*series=/);
  assert.match(await page.locator('select[aria-label=Series] option:checked').innerText(), /4096 × 4096, M = 8 · graph\+pdl/);
});

test('a change point leads to what differs there', async () => {
  const stepped = encodeURIComponent('1~6144x4096~bf16~16~graph~measured');
  await go(`#/history?series=${stepped}`);
  assert.match(await text('.change-points li'), /−4\.0 %/);
  await page.getByRole('button', { name: 'What differs' }).click();
  await drawn(page);
  assert.match(page.url(), /#\/config/);
  const differing = await page.locator('.diff .differs th').allInnerTexts();
  assert.ok(differing.some((name) => name.startsWith('block_n')), differing.join(';'));
});

test('two runs are compared over what both measured', async () => {
  await go('#/compare?base=1&run=8');
  assert.match(await text('.figure'), /over the 200 series that both measured/);
});

test('the search space names losers and failures', async () => {
  await go(`#/search?series=${series}`);
  const rows = await page.locator('.tabulator-row').allInnerTexts();
  assert.match(rows.join('\n'), /the fastest/);
  assert.match(rows.join('\n'), /% slower/);
});

test('a row opens a drawer with a command that measures it again, by keyboard alone', async () => {
  await go(`#/search?series=${series}`);
  await page.locator('.tabulator-row').first().focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const command = await page.locator('dialog .command code').first().innerText();
  assert.match(command, /^nvfp4-tune --shape 4096,4096 --M 8 --policy graph\+pdl --config family=\w+,act=bf16\S* --force$/);
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });  // its close event comes a task later
});

test('number keys go to pages, t changes the theme, ? opens the help with the licences', async () => {
  await page.keyboard.press('6');
  await drawn(page);
  assert.match(page.url(), /#\/roofline/);
  await page.keyboard.press('t');
  assert.equal(await page.evaluate(() => document.documentElement.dataset['theme']), 'light');
  await page.keyboard.press('t');
  await page.keyboard.press('t');
  await page.keyboard.press('?');
  assert.match(await text('dialog.help'), /Apache ECharts[\s\S]*Tabulator[\s\S]*SQLite/);
  await page.keyboard.press('Escape');
});

test('tables download as CSV and JSON', async () => {
  await go('#/roofline');
  for (const [label, wanted] of [['CSV', /^shape,m,policy,/], ['JSON', /"schema": 1/]] as const) {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: label, exact: true }).click()]);
    assert.match(readFileSync(await download.path(), 'utf8'), wanted);
  }
});

test('nothing is asked of any server', async () => {
  const asked: string[] = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.reload();
  await drawn(page);
  for (const name of names) await go(`#/${name}`);
  assert.deepEqual(asked.filter((url) => !/^(file|data|blob):/.test(url)), []);
});

test('modelled data says so on every page that shows it', async () => {
  const modelled = await fixture({ modelled: true, runs: 3 });
  const other = await open(session, session.withData(modelled, [], 'modelled.html'));
  await drawn(other);
  for (const name of names) {
    await visit(other, `#/${name}`);
    await drawn(other);
    assert.match(await other.locator('.banner').first().innerText(), /Modelled times/, name);
  }
  await other.close();
});

test('a database is fetched from ?db=URL', async () => {
  const bytes = database.export();
  const server = createServer((request, response) => {
    response.end(request.url === '/tuning.db' ? bytes : readFileSync(builtPage));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const other = await open(session, `http://127.0.0.1:${port}/?db=/tuning.db`);
  await drawn(other);
  assert.match(await other.locator('.loaded').innerText(), /tuning\.db/);
  await other.goto(`http://127.0.0.1:1/`).catch(() => undefined);
  await other.close();
  server.close();
});

for (const [scheme, width] of [['light', 1440], ['dark', 1440], ['light', 900]] as const) {
  test(`every page draws, ${scheme} at ${width}, and axe finds nothing serious`, async () => {
    const own = await Session.open(scheme, width);
    try {
      const other = await open(own, own.withData(database, models));
      await drawn(other);
      for (const name of names) {
        await visit(other, `#/${name}`);
        await drawn(other);
        await other.screenshot({ path: `${screenshots}/${name}-${scheme}-${width}.png` });
        assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than the window`);
        if (width < 1000) continue;
        // The page's policy lets no script in; the debugger may.
        const client = await other.context().newCDPSession(other);
        await client.send('Runtime.evaluate', { expression: axe });
        const found = await client.send('Runtime.evaluate', { awaitPromise: true, returnByValue: true, expression: "axe.run({ resultTypes: ['violations'] }).then((all) => all.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => one.id + ': ' + one.nodes.slice(0, 2).map((node) => node.html.slice(0, 200)).join(' | ')))" });
        assert.deepEqual(found.result.value, [], name);
      }
    } finally {
      await own.close();
    }
  });
}

test('nothing complained on the way', () => assert.deepEqual(complaints.filter((one) => !/ERR_(CONNECTION|UNSAFE)/.test(one)), []));
