// SPDX-License-Identifier: Apache-2.0
// What the page itself takes, on a machine that others use too and that may be slower than the one the
// goals were set on: the lesser of wall time and processor time of its main thread, over the slowness of
// that thread, which a piece of work of known time tells beside every measurement.
import type { CDPSession, Page } from 'playwright-core';

export interface Taken {
  readonly cpu: number;
  readonly wall: number;
  /** Times the known work took longer than on an idle machine; at least 1. */
  readonly slowness: number;
}

// Milliseconds of knownWork() where the goals were set: the middle of three in Chromium 156 on two
// otherwise idle cores of an EPYC server.
const kKnownWork = 30;

/** Objects, a sort, texts and a map: what a page does that draws tables. */
function knownWork(): number {
  let seed = 1;
  const rows = Array.from({ length: 40_000 }, (_, id) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return { id, value: seed / 2_147_483_647 };
  });
  rows.sort((a, b) => a.value - b.value);
  const byText = new Map(rows.map((row) => [row.value.toFixed(6), row.id]));
  return byText.size;
}

/** Processor time of a page's main thread. */
export class ThreadClock {
  private constructor(private session: CDPSession) {}

  /** Counts from now, or from the next navigation. */
  static async of(page: Page): Promise<ThreadClock> {
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    return new ThreadClock(session);
  }

  /** Milliseconds. */
  async now(): Promise<number> {
    const { metrics } = await this.session.send('Performance.getMetrics');
    return (metrics.find((metric) => metric.name === 'TaskDuration')?.value ?? 0) * 1000;
  }
}

/** A page with nothing in it, where known work is timed. */
export class Pace {
  private constructor(private page: Page, private clock: ThreadClock) {}

  static async of(blank: Page): Promise<Pace> {
    const pace = new Pace(blank, await ThreadClock.of(blank));
    // The first is of code that is not compiled yet.
    for (let i = 0; i < 3; ++i) await pace.once();
    return pace;
  }

  private async once(): Promise<number> {
    const begin = await this.clock.now();
    await this.page.evaluate(knownWork);
    return (await this.clock.now()) - begin;
  }

  /** How slow this machine is at the moment: by the middle of three. */
  async slowness(): Promise<number> {
    const times = [await this.once(), await this.once(), await this.once()].sort((a, b) => a - b);
    return Math.max(1, (times[1] as number) / kKnownWork);
  }
}

export const text = ({ cpu, wall, slowness }: Taken): string =>
  `${Math.round(cpu)} ms of the main thread, ${Math.round(wall)} on the wall, on a machine ${slowness.toFixed(2)} times as slow`;

/** What a limit is held against. */
export const judged = ({ cpu, wall, slowness }: Taken): number => Math.min(cpu, wall) / slowness;

export const middle = (list: readonly Taken[]): Taken => list.toSorted((a, b) => judged(a) - judged(b))[list.length >> 1] as Taken;
