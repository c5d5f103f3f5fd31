// What a served page says to its server about reviewing (src/mulligan/apps/server/api.py). Nothing here runs in a page
// that was opened from disk.

import type { Quantity } from "../book/format";

export interface Said {
  text: string;
  author: string;
  note: string;
  at: string;
  revision: number;
  blind: boolean;
}

/** One feature, as far as its reader may see it: while `hidden`, of others' labels nothing is there. */
export interface FeatureState {
  reader: string;
  assigned: string[];
  waiting: string[];
  mine: Said | null;
  revision: number;
  hidden: boolean;
  labels: Said[];
  state: "none" | "one" | "agreed" | "resolved" | "disputed" | null;
  resolution: (Said & { same: boolean }) | null;
  settled_by: number | null;
  history: Said[];
}

export interface VerdictState {
  verdicts: { verdict: string; author: string; reason: string; at: string; revision: number; of_this_claim: boolean }[];
  revision: number;
}

export interface LayerState {
  network: number;
  site: string;
  meaning: string;
  features: number;
  once: number;
  twice: number;
  agreed: number;
  resolved: number;
  disputed: number;
  waiting: number;
  mine: number;
}

export interface Overview {
  revision: number;
  readers: string[];
  features: number;
  layers: LayerState[];
  queue: { n: number; keys: string[] };
  disputes: { n: number; features: { key: string; labels: Said[] }[] };
  agreement: { readers: [string, string]; share: Quantity; judged: number }[];
  findings: (VerdictState & { run_number: number; id: string })[];
}

/** Something newer is there than what was seen; `current` is it. */
export class Conflict<T> extends Error {
  constructor(message: string, readonly current: T) {
    super(message);
  }
}

/** Told to the window when a reader has said who they are, or was given the token. */
export const IDENTITY = "mg-identity";

export class Reviews {
  constructor(private readonly base: string, readonly writable: boolean) {}

  /** The token that lets this tab write; "" if it was not given one. */
  get token(): string {
    return sessionStorage.getItem("mg-token") ?? "";
  }

  set token(value: string) {
    sessionStorage.setItem("mg-token", value.trim());
    window.dispatchEvent(new Event(IDENTITY));
  }

  /** The name that this browser's reader writes under. */
  get reader(): string {
    return sessionStorage.getItem("mg-reader") ?? localStorage.getItem("mg-reader") ?? "";
  }

  set reader(name: string) {
    const line = name.trim().replace(/\s+/g, " ").slice(0, 80);
    sessionStorage.setItem("mg-reader", line);
    localStorage.setItem("mg-reader", line);
    window.dispatchEvent(new Event(IDENTITY));
  }

  overview(): Promise<Overview> {
    return this.read<Overview>("review", {});
  }

  feature(key: string): Promise<FeatureState> {
    return this.read<FeatureState>("feature", { key });
  }

  finding(run: number, id: string): Promise<VerdictState> {
    return this.read<VerdictState>("finding", { run: String(run), id });
  }

  take(layer: LayerState, reader: string, count: number, second: boolean): Promise<{ changed: number }> {
    return this.write("assign", { reader, site: layer.site, network: layer.network, count, second });
  }

  label(feature: string, text: string, note: string, revision: number): Promise<FeatureState> {
    return this.write("label", { feature, text, note, revision });
  }

  resolve(feature: string, text: string, note: string, same: boolean, revision: number): Promise<FeatureState> {
    return this.write("resolve", { feature, text, note, same, revision });
  }

  verdict(run: number, finding: string, verdict: string, reason: string, revision: number): Promise<VerdictState> {
    return this.write("verdict", { run, finding, verdict, reason, revision });
  }

  private async read<T>(name: string, query: Record<string, string>): Promise<T> {
    const search = new URLSearchParams({ ...query, reader: this.reader });
    return this.answer<T>(await reach(`${this.base}/${name}?${search.toString()}`));
  }

  private async write<T>(name: string, body: object): Promise<T> {
    if (!this.reader) throw new Error("Say who you are first.");
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${this.token}` };
    const sent = JSON.stringify({ ...body, author: this.reader });
    return this.answer<T>(await reach(`${this.base}/${name}`, { method: "POST", headers, body: sent }));
  }

  private async answer<T>(response: Response): Promise<T> {
    const found = (await response.json()) as T & { error?: string; current?: T };
    if (response.status === 409) throw new Conflict<T>(String(found.error), found.current as T);
    if (!response.ok) throw new Error(String(found.error));
    return found;
  }
}

async function reach(url: string, options: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(url, options);
  } catch {
    throw new Error("The server does not answer. What you wrote is still here; try again once it runs.");
  }
}

/** The token moves from the address, where it would be seen and mailed, to this tab's own storage. */
export function keepToken(): void {
  const search = new URLSearchParams(location.search);
  const token = search.get("token");
  if (!token) return;
  sessionStorage.setItem("mg-token", token);
  search.delete("token");
  const rest = search.toString();
  history.replaceState(null, "", `${location.pathname}${rest ? `?${rest}` : ""}${location.hash}`);
}
