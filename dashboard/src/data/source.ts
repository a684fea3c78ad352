// SPDX-License-Identifier: Apache-2.0
// Where bytes come from: the data inside this very page, an address, or a file that the user gives.
import { Unreadable, damagedPage } from './open.ts';

/** Bytes and what to call them. */
export interface Source {
  readonly name: string;
  readonly bytes: Uint8Array;
}

async function gunzip(parts: Uint8Array<ArrayBuffer>[]): Promise<Uint8Array> {
  const stream = new DecompressionStream('gzip');
  const writer = stream.writable.getWriter();
  // What cannot be written makes the reading fail, and that is awaited.
  for (const part of parts) writer.write(part).catch(() => undefined);
  writer.close().catch(() => undefined);
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

async function maybeGunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzip([bytes]) : bytes;
}

/** What `nvfp4-tune dashboard` put into the page: gzipped columns in base64, in many elements since a
 * browser's parser takes twice as long for one of 16 MB. */
export async function inlined(): Promise<Source | undefined> {
  const holders = [...document.querySelectorAll<HTMLElement>('script.nvfp4-data')];
  const [first] = holders;
  if (!first) return undefined;
  try {
    const parts = holders.map((holder) => decodeBase64((holder.textContent ?? '').trim()));
    for (const holder of holders) holder.remove();
    return { name: first.dataset['name'] || 'data of this page', bytes: await gunzip(parts) };
  } catch {
    throw damagedPage();
  }
}

/** The browser's own decoder where there is one: a string of the result in between costs memory. */
function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = (Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  return native ? native.call(Uint8Array, text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export async function fetched(url: string): Promise<Source> {
  const remedy = 'Serve the file from where this page comes from, or with CORS headers; or drop it here.';
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    return { name: url, bytes: await maybeGunzip(new Uint8Array(await response.arrayBuffer())) };
  } catch (error) {
    throw new Unreadable(`${url} cannot be fetched: ${error instanceof Error ? error.message : error}`, remedy);
  }
}

export async function given(file: File): Promise<Source> {
  try {
    return { name: file.name, bytes: await maybeGunzip(new Uint8Array(await file.arrayBuffer())) };
  } catch {
    throw new Unreadable(`${file.name} cannot be read.`, 'Choose a file and not a folder.');
  }
}
