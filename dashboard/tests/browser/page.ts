// SPDX-License-Identifier: Apache-2.0
// The built page in Debian's Chromium, opened from a file as a user would.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type BrowserContext, type Page, chromium } from 'playwright-core';
import type { Database } from 'sql.js';
import { columnar } from '../columnar.ts';

export const builtPage = process.env['NVFP4_DASHBOARD_PAGE'] ?? 'dist/index.html';
export const screenshots = process.env['NVFP4_SCREENSHOTS'] ?? '../build/dashboard/screenshots';

export const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));

// As tuner/dashboard_page.cpp cuts it.
const kElement = 512 << 10;

/** A folder of its own that goes away, and a browser that lives in it. */
export class Session {
  readonly folder = mkdtempSync(join(tmpdir(), 'nvfp4-dashboard-'));
  private constructor(private context?: BrowserContext) {}

  static async open(scheme: 'light' | 'dark' = 'light', width = 1440): Promise<Session> {
    const session = new Session();
    session.context = await chromium.launchPersistentContext(join(session.folder, 'profile'), {
      executablePath: browserPath ?? '',
      headless: true,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
      colorScheme: scheme, viewport: { width, height: 900 }, acceptDownloads: true,
    });
    mkdirSync(screenshots, { recursive: true });
    return session;
  }

  async page(): Promise<Page> {
    const page = await (this.context as BrowserContext).newPage();
    page.setDefaultTimeout(60_000);
    return page;
  }

  write(name: string, bytes: Uint8Array | string): string {
    const path = join(this.folder, name);
    writeFileSync(path, bytes);
    return path;
  }

  /** The page with data in it, as `nvfp4-tune dashboard` writes it; its address. */
  withData(database: Database, models: unknown = [], name = 'index.html'): string {
    return this.withBytes(gzipSync(columnar(database)), models, name);
  }

  withBytes(bytes: Uint8Array, models: unknown = [], name = 'index.html'): string {
    const base64 = Buffer.from(bytes).toString('base64');
    const parts: string[] = [];
    for (let i = 0; i < base64.length; i += kElement) parts.push(`<script type="application/octet-stream" class="nvfp4-data" data-name="test.db">${base64.slice(i, i + kElement)}</script>`);
    const html = readFileSync(builtPage, 'utf8')
      .replace('<!-- nvfp4-data -->', () => parts.join('\n'))
      .replace('id="nvfp4-models">', () => `id="nvfp4-models">${JSON.stringify(models)}`);
    return pathToFileURL(this.write(name, html)).href;
  }

  static get plainPage(): string {
    return pathToFileURL(resolve(builtPage)).href;
  }

  async close(): Promise<void> {
    await this.context?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Waits until the page has drawn what its address says. */
export async function drawn(page: Page, state = 'ready'): Promise<void> {
  await page.waitForSelector(`body[data-state="${state}"]`);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** Goes to an address of the loaded page and returns the milliseconds until it was painted. */
export async function visit(page: Page, hash: string): Promise<number> {
  return page.evaluate(
    (to) =>
      new Promise<number>((resolve) => {
        const begin = performance.now();
        if (location.hash === to) return resolve(0);
        addEventListener('hashchange', () => requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin))), { once: true });
        location.hash = to;
      }),
    hash,
  );
}
