// How features and classes are called, and the links that lead to their cards.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import { to } from "../../router";
import { brief, spaced } from "../../words";

/** A feature's name within its network ("blocks.5:12"). */
export function featureName(book: Book, i: number): string {
  return unprefixed(book.index.features.key[i]!, networkOf(book, i));
}

export function networkOf(book: Book, i: number): number {
  return book.index.sites.network[book.index.features.site[i]!] ?? 0;
}

const END = 11;

/** A name of a list, of which the end stays in sight where there is no room for all: that tells it from its neighbours. */
export function ends(name: string): TemplateResult {
  const letters = [...brief(name)];
  if (letters.length <= END + 3) return html`<bdi><code>${letters.join("")}</code></bdi>`;
  return html`<bdi class="long-name" title=${letters.join("")}><code>${letters.slice(0, -END).join("")}</code><code>${letters.slice(-END).join("")}</code></bdi>`;
}

/** A unit's name, which breaks between its parts and never within a number. */
function parted(name: string): TemplateResult {
  return html`<bdi><code class="parted">${brief(name).split(/(?<=\.)|(?=:\d+$)/).map((part, k) => html`${k ? html`<wbr>` : nothing}${part}`)}</code></bdi>`;
}

/** The class that a feature is selective for, or "". */
export function selectiveFor(book: Book, i: number): string {
  const { names, of } = book.index.features.selective;
  const n = of[i] ?? null;
  return n === null ? "" : names[n]!;
}

/** Which network something belongs to, where the page has several. */
export function networkTag(book: Book, network: number): TemplateResult | typeof nothing {
  if (book.index.networks.length < 2) return nothing;
  return html`<span class="tag network" title=${brief(book.index.networks[network]?.name ?? "")}>${letter(network)}</span>`;
}

/** What the letters stand for. */
export function networkKey(book: Book): TemplateResult | typeof nothing {
  const { networks } = book.index;
  if (networks.length < 2) return nothing;
  return html`<p class="count">${networks.map(({ name }, n) => html`${n ? ", " : ""}<span class="tag network">${letter(n)}</span> <bdi>${brief(name)}</bdi>`)}</p>`;
}

/** Networks are told apart by letters, as in figures. */
export function letter(network: number): string {
  return String.fromCharCode(65 + (network % 26));
}

/** A unit that may have a card: its name, and a link if it has one. */
export function unitLink(book: Book, network: number, site: string, unit: number): TemplateResult {
  const key = book.keyOf(network, site, unit);
  const name = parted(`${site}:${unit}`);
  return key ? html`<a href=${to("unit", key)}>${name}</a>` : name;
}

/** A class that may have a card. */
export function classLink(book: Book, network: number, name: string): TemplateResult {
  const key = book.classKeyOf(network, name);
  const text = html`<bdi>${spaced(name)}</bdi>`;
  return key ? html`<a href=${to("class", key)}>${text}</a>` : text;
}

/** Whatever a key of a table leads to: a unit, a class ("class NAME" stands where features are expected), or nothing. */
export function keyLink(book: Book, key: string): TemplateResult {
  const output = /^(\d+~)?class ([^]*)$/.exec(key);
  const of = output ? `${output[1] ?? ""}${output[2]}` : key;
  const unit = book.feature(key);
  if (unit >= 0) return html`<a href=${to("unit", key)}>${parted(featureName(book, unit))}</a>${networkTag(book, networkOf(book, unit))}`;
  const at = book.class(of);
  if (at < 0) return html`<bdi>${brief(key)}</bdi>`;
  const { name, network } = book.index.classes;
  return html`<a href=${to("class", of)}><bdi>${spaced(name[at]!)}</bdi></a>${networkTag(book, network[at]!)}`;
}

/** A key without what says which network it is of. */
export function unprefixed(key: string, network: number): string {
  return network && key.startsWith(`${network}~`) ? key.slice(`${network}~`.length) : key;
}
