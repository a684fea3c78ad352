// SPDX-License-Identifier: Apache-2.0
// What the page itself takes, on a machine that others use too: processor time of its main thread,
// beside the time on the wall.
import { availableParallelism, loadavg } from 'node:os';
import type { CDPSession, Page } from 'playwright-core';

export interface Taken {
  readonly cpu: number;
  readonly wall: number;
}

export class ThreadClock {
  private constructor(private session: CDPSession) {}

  /** Counts from now, or from the next navigation. */
  static async of(page: Page): Promise<ThreadClock> {
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    return new ThreadClock(session);
  }

  /** Milliseconds of the main thread. */
  async now(): Promise<number> {
    const { metrics } = await this.session.send('Performance.getMetrics');
    return (metrics.find((metric) => metric.name === 'TaskDuration')?.value ?? 0) * 1000;
  }
}

/** True where the wall clock tells of others: more runs than there are processors. */
export const busy = (): boolean => (loadavg()[0] ?? 0) > availableParallelism();

export const text = ({ cpu, wall }: Taken): string => `${Math.round(cpu)} ms of the main thread (${Math.round(wall)} on the wall)`;

/** What a limit is held against: the wall, unless it tells of others. */
export const judged = ({ cpu, wall }: Taken): number => (busy() ? cpu : wall);

export const middle = (list: readonly Taken[]): Taken => list.toSorted((a, b) => judged(a) - judged(b))[list.length >> 1] as Taken;
