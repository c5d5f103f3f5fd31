// The data of one page: what exists is known at once, the rest is decoded when it is first asked for.

import type { ClassCard, FeatureCard, Finding, Index, Picture, TableEntry } from "./format";
import type { Transport } from "./transport";

export class Book {
  private readonly decoded = new Map<number, Promise<unknown[]>>();
  private readonly featureAt: Map<string, number>;
  private readonly classAt: Map<string, number>;

  constructor(readonly index: Index, private readonly transport: Transport) {
    this.featureAt = new Map(index.features.key.map((key, i) => [key, i]));
    this.classAt = new Map(index.classes.key.map((key, i) => [key, i]));
  }

  static async open(transport: Transport): Promise<Book> {
    const index = await transport.index();
    if (index.format !== "mulligan/page/1") {
      throw new Error(`This page's data is of another format (${String(index.format)}).`);
    }
    return new Book(index, transport);
  }

  /** The number of a feature by its key; -1: the page has none. */
  feature(key: string): number {
    return this.featureAt.get(key) ?? -1;
  }

  class(key: string): number {
    return this.classAt.get(key) ?? -1;
  }

  /** The number of a class by its key, or by one that differs from it only in spaces at its ends; -1: none, or several. */
  classNear(key: string): number {
    const exact = this.class(key);
    if (exact >= 0) return exact;
    const found = this.index.classes.key.flatMap((one, i) => (one.trim() === key.trim() ? [i] : []));
    return found.length === 1 ? found[0]! : -1;
  }

  table(id: string): TableEntry | undefined {
    return this.index.tables.find((table) => table.id === id);
  }

  featureCard(i: number): Promise<FeatureCard> {
    return this.item("features", i) as Promise<FeatureCard>;
  }

  classCard(i: number): Promise<ClassCard> {
    return this.item("classes", i) as Promise<ClassCard>;
  }

  picture(number: number): Promise<Picture> {
    return this.item("pictures", number) as Promise<Picture>;
  }

  /** The number of a finding by its run and id; -1: the page has none. */
  findingAt(run: number, id: string): number {
    return this.index.findings.findIndex((one) => one.run === run && one.id === id);
  }

  finding(run: number, id: string): Promise<Finding> {
    return this.item("findings", this.findingAt(run, id)) as Promise<Finding>;
  }

  /** The key under which the page knows a unit of one of its networks, or "" if it has no card of it. */
  keyOf(network: number, site: string, unit: number): string {
    const key = `${network ? `${network}~` : ""}${site}:${unit}`;
    return this.featureAt.has(key) ? key : "";
  }

  classKeyOf(network: number, name: string): string {
    const key = `${network ? `${network}~` : ""}${name}`;
    return this.classAt.has(key) ? key : "";
  }

  /** Item `i` of a series. */
  async item(name: string, i: number): Promise<unknown> {
    const [chunk, row] = this.place(name, i);
    return (await this.chunk(chunk))[row];
  }

  /** Items `from` up to `to` of a series. */
  async items(name: string, from: number, to: number): Promise<unknown[]> {
    const series = this.index.series[name];
    if (!series || from >= to) return [];
    const first = at(series.starts, from);
    const last = at(series.starts, to - 1);
    const parts = await Promise.all(series.chunks.slice(first, last + 1).map((n) => this.chunk(n)));
    const start = series.starts[first]!;
    return parts.flat().slice(from - start, to - start);
  }

  private place(name: string, i: number): [number, number] {
    const series = this.index.series[name];
    if (!series || i < 0 || i >= series.n) throw new Error(`This page has no item ${i} of ${name}.`);
    const k = at(series.starts, i);
    return [series.chunks[k]!, i - series.starts[k]!];
  }

  private chunk(n: number): Promise<unknown[]> {
    let found = this.decoded.get(n);
    if (!found) {
      found = this.transport.chunk(n);
      // What failed may be asked for again.
      found.catch(() => this.decoded.delete(n));
      this.decoded.set(n, found);
    }
    return found;
  }
}

/** The last k with starts[k] <= i. */
function at(starts: number[], i: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle]! <= i) low = middle;
    else high = middle - 1;
  }
  return low;
}
