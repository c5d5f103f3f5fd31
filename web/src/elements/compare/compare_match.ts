// What of one network belongs beside what of another: findings that claim the same, figures of one name, classes of one
// name, units of one alias.

import type { Book } from "../../book/book";
import type { Beside } from "../../book/explored";
import type { Finding, Group, Quantity, Reference } from "../../book/format";

/** One side: a network of the page, and its audit if the page has one. */
export interface Side {
  network: number;
  run: number | null;
}

/** Audits first, in their order; then networks that none of them is about. */
export function sides(book: Book): Side[] {
  const audits = book.index.runs.flatMap((run, k): Side[] => (run.audit && run.network !== null ? [{ network: run.network, run: k }] : []));
  const seen = new Set(audits.map(({ network }) => network));
  return [...audits, ...book.index.networks.flatMap((_, network): Side[] => (seen.has(network) ? [] : [{ network, run: null }]))];
}

export interface Paired {
  kind: string;
  a: Finding | null;
  b: Finding | null;
}

/** Findings that claim the same of both, then those of either. The same: one kind, target and sources, or one sentence. */
export function pairedFindings(a: Finding[], b: Finding[]): Paired[] {
  const left = [...b];
  const pairs = a.map((one): Paired => {
    const at = left.findIndex((other) => other.kind === one.kind && (other.claim === one.claim || told(other) === told(one)));
    return { kind: one.kind, a: one, b: at < 0 ? null : left.splice(at, 1)[0]! };
  });
  const every = [...pairs, ...left.map((one): Paired => ({ kind: one.kind, a: null, b: one }))];
  const rank = ({ a, b }: Paired): number => (a && b ? 0 : a ? 1 : 2);
  return every.sort((x, y) => rank(x) - rank(y));
}

/** What a finding is about, however it is put. A finding that names neither sources nor target is like no other. */
function told({ id, sources, absent, target }: Finding): string {
  const names = (items: (string | Group)[]): string[] => items.map((item) => (typeof item === "string" ? item : item.name)).sort();
  return sources.length || target !== null ? JSON.stringify([names(sources), names(absent), target]) : `${id} alone`;
}

export interface Figure {
  name: string;
  a: Beside | null;
  b: Beside | null;
}

export function pairedFigures(a: Beside[], b: Beside[]): Figure[] {
  const names = [...new Set([...a, ...b].map(({ name }) => name))];
  return names.map((name) => ({ name, a: a.find((f) => f.name === name) ?? null, b: b.find((f) => f.name === name) ?? null }));
}

export interface ClassRow {
  name: string;
  a: Quantity | null;
  b: Quantity | null;
  tables: [Reference | null, Reference | null];
}

/** Classes of one name with the recall of both, the largest difference first. */
export function pairedClasses(a: Recalls, b: Recalls): ClassRow[] {
  const rows = [...a].flatMap(([name, [recall, table]]): ClassRow[] => {
    const other = b.get(name);
    return other ? [{ name, a: recall, b: other[0], tables: [table, other[1]] }] : [];
  });
  return rows.sort((x, y) => Math.abs(difference(y)) - Math.abs(difference(x)) || x.name.localeCompare(y.name));
}

export type Recalls = Map<string, [Quantity | null, Reference | null]>;

export function difference({ a, b }: { a: Quantity | null; b: Quantity | null }): number {
  return a && b ? b.value - a.value : 0;
}

/** Whether two intervals share a value; null: one of them has none. */
export function overlap(a: Quantity | null, b: Quantity | null): boolean | null {
  if (!a || !b || a.low === null || a.high === null || b.low === null || b.high === null) return null;
  return a.low <= b.high && b.low <= a.high;
}

/** Units that both networks have a card of, by alias; those with pictures on both sides first. */
export function sharedUnits(book: Book, a: number, b: number): [number, number][] {
  const { key, site, unit, picture } = book.index.features;
  const { network, name } = book.index.sites;
  const alias = (i: number): string => `${name[site[i]!]}:${unit[i]}`;
  const of = (wanted: number): number[] => key.map((_, i) => i).filter((i) => network[site[i]!] === wanted && unit[i] !== null);
  const other = new Map(of(b).map((i) => [alias(i), i]));
  const pairs = of(a).flatMap((i): [number, number][] => (other.has(alias(i)) ? [[i, other.get(alias(i))!]] : []));
  const shown = ([x, y]: [number, number]): number => Number(picture[x] !== null) + Number(picture[y] !== null);
  return pairs.sort((p, q) => shown(q) - shown(p));
}
