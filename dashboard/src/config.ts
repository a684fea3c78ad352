// SPDX-License-Identifier: Apache-2.0
// A kernel's config as the database spells it: family, act, and what differs from the defaults. Only
// canonical text is taken, for a command to copy is made of it.

type Kind = readonly string[] | 'number' | 'flag';
interface Field {
  readonly name: string;
  readonly kind: Kind;
  readonly initial: string;
  readonly meaning: string;
}

// The fields of templates/kernel_config.h in the order in which config_text() prints them; a unit
// test holds names and defaults against that file.
export const configFields: readonly Field[] = [
  { name: 'family', kind: ['mma', 'wgmma'], initial: 'mma', meaning: 'tensor-core instructions' },
  { name: 'act', kind: ['bf16', 'fp16'], initial: 'bf16', meaning: 'activations' },
  { name: 'block_n', kind: 'number', initial: '64', meaning: 'weight rows a CTA owns' },
  { name: 'block_m', kind: 'number', initial: '16', meaning: 'tokens a CTA owns' },
  { name: 'block_k', kind: 'number', initial: '64', meaning: 'k of one pipeline stage' },
  { name: 'warps_n', kind: 'number', initial: '1', meaning: 'warps that split the rows of a stage' },
  { name: 'warps_k', kind: 'number', initial: '4', meaning: 'warp groups that take stages in turn' },
  { name: 'num_stages', kind: 'number', initial: '3', meaning: 'depth of the pipeline' },
  { name: 'schedule', kind: ['data_parallel', 'split_k', 'stream_k'], initial: 'data_parallel', meaning: 'how CTAs share the work' },
  { name: 'split_k', kind: 'number', initial: '1', meaning: 'CTAs that share one output tile' },
  { name: 'ctas_per_sm', kind: 'number', initial: '1', meaning: 'residency the registers allow' },
  { name: 'cluster_n', kind: 'number', initial: '1', meaning: 'CTAs of a cluster along n' },
  { name: 'cluster_k', kind: 'number', initial: '1', meaning: 'CTAs of a cluster along k' },
  { name: 'pdl', kind: 'flag', initial: '0', meaning: 'programmatic dependent launch' },
];

export type Config = ReadonlyMap<string, string>;

function valid(field: Field, value: string): boolean {
  if (field.kind === 'number') return /^[1-9]\d{0,3}$/.test(value);
  return field.kind === 'flag' ? value === '1' : field.kind.includes(value);
}

/** Every field's value; undefined unless the text is one that the tuner could have written. */
export function parseConfig(text: string): Config | undefined {
  if (text.length > 512) return undefined;
  const given = new Map<string, string>();
  for (const item of text.split(',')) {
    const [name = '', value = ''] = item.split('=', 2);
    const field = configFields.find((candidate) => candidate.name === name);
    if (!field || !valid(field, value)) return undefined;
    given.set(name, value);
  }
  const config = new Map(configFields.map((field) => [field.name, given.get(field.name) ?? field.initial]));
  return configText(config) === text ? config : undefined;
}

export function configText(config: Config): string {
  return configFields
    .filter((field, i) => i < 2 || config.get(field.name) !== field.initial)
    .map((field) => `${field.name}=${config.get(field.name)}`)
    .join(',');
}

export interface FieldChange {
  readonly name: string;
  readonly meaning: string;
  readonly before: string;
  readonly after: string;
  readonly differs: boolean;
}

export function configDiff(before: Config, after: Config): FieldChange[] {
  return configFields.map(({ name, meaning }) => {
    const [b, a] = [before.get(name) ?? '', after.get(name) ?? ''];
    return { name, meaning, before: b, after: a, differs: b !== a };
  });
}

/** "wgmma 128×64×128 · 4 stages": what tells one config from another at a glance. */
export function configSummary(text: string): string {
  const config = parseConfig(text);
  if (!config) return '';
  const get = (name: string): string => config.get(name) ?? '';
  const parts = [`${get('family')} ${get('block_n')}×${get('block_m')}×${get('block_k')}`];
  if (get('schedule') === 'split_k') parts.push(`split-K ${get('split_k')}`);
  if (get('schedule') === 'stream_k') parts.push('stream-K');
  parts.push(`${get('num_stages')} stages`);
  return parts.join(' · ');
}
