// SPDX-License-Identifier: Apache-2.0
// The command that measures a row again. A database may be a stranger's and the command will be pasted
// into a shell: it is put together from numbers and from words that are known, never from text as it
// stands.
import { configText, parseConfig } from './config.ts';

export interface Reproducible {
  readonly n: number;
  readonly k: number;
  readonly experts: number;
  readonly m: number;
  readonly policy: string;
  readonly config: string;
  /** Of the run; only its --device is taken, and only a plain one. */
  readonly runCommand: string;
}

const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least;

/** Undefined where the row is not one that the tuner could have written. */
export function reproduce(row: Reproducible): string | undefined {
  const config = parseConfig(row.config);
  const counts = isCount(row.n, 1) && isCount(row.k, 1) && isCount(row.m, 1) && isCount(row.experts, 0);
  if (!config || !counts || !['graph', 'graph+pdl', 'eager'].includes(row.policy)) return undefined;
  const device = /--device[ =](emulated:[a-z0-9]{1,20})(?: |$)/.exec(row.runCommand)?.[1];
  return [
    'nvfp4-tune', `--shape ${row.n},${row.k}`, row.experts > 0 && `--experts ${row.experts}`, `--M ${row.m}`,
    config.get('act') !== 'bf16' && `--act ${config.get('act')}`, `--policy ${row.policy}`,
    device && `--device ${device}`, `--config ${configText(config)}`, '--force',
  ].filter(Boolean).join(' ');
}

/** A recorded command, if it is one that the shell takes word by word. */
export function harmless(command: string): boolean {
  return command.length <= 1000 && /^nvfp4-tune(?: [A-Za-z0-9,.:=+\-_/*@%]+)*$/.test(command);
}
