// Two ways to the same data: this very file, or a server.

import type { Index } from "./format";

export interface Transport {
  index(): Promise<Index>;
  /** Chunk `n`, decoded. */
  chunk(n: number): Promise<unknown[]>;
}

/** Everything lies in script tags that are never run. */
export class Embedded implements Transport {
  constructor(private readonly root: Document | ShadowRoot = document) {}

  async index(): Promise<Index> {
    return JSON.parse((await this.tag("mg-index")).textContent ?? "") as Index;
  }

  async chunk(n: number): Promise<unknown[]> {
    return unpack(bytes(((await this.tag(`mg-c${n}`)).textContent ?? "").trim()));
  }

  // The bundle runs before the browser has read the whole file: what is not there yet will come.
  private async tag(id: string): Promise<Element> {
    let found = this.root.getElementById(id);
    if (!found && document.readyState === "loading") {
      await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
      found = this.root.getElementById(id);
    }
    if (!found) throw new Error(`This page has lost a part of its data (${id}). Write it again with mulligan report.`);
    return found;
  }
}

/** `BASE/index.json` and `BASE/chunks/N`, as `mulligan serve` has them. */
export class Served implements Transport {
  constructor(private readonly base: string) {}

  async index(): Promise<Index> {
    return (await this.get("index.json")) as Index;
  }

  async chunk(n: number): Promise<unknown[]> {
    return (await this.get(`chunks/${n}`)) as unknown[];
  }

  private async get(path: string): Promise<unknown> {
    const response = await fetch(`${this.base}/${path}`);
    if (!response.ok) throw new Error(`The server answered ${response.status} for ${path}.`);
    return response.json();
  }
}

function bytes(base64: string): Uint8Array<ArrayBuffer> {
  // Newer browsers do it in a fifth of the time.
  const itself = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (itself) return itself.call(Uint8Array, base64);
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

async function unpack(packed: Uint8Array<ArrayBuffer>): Promise<unknown[]> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text()) as unknown[];
}
