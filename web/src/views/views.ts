// Which view stands behind an address. A module that has one names it here.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../book/book";
import { brief } from "../words";
import { to, type Address } from "../router";

export type View = (book: Book, address: Address) => TemplateResult;

const VIEWS: Record<string, View> = {};

export function register(name: string, draw: View): void {
  VIEWS[name] = draw;
}

export function view(book: Book, address: Address): TemplateResult {
  const draw = VIEWS[address.view];
  return html`<nav class="back" aria-label="Page"><a href="#/">← <span>${home()}</span>: ${brief(book.index.title)}</a>
      ${listed(book).map(([name, text, of]) => html`<a href=${to(name, of)} aria-current=${address.view === name && address.of === of ? "page" : nothing}>${text}</a>`)}</nav>
    ${draw ? draw(book, address) : nowhere(`There is no view named “${brief(address.view)}”.`)}`;
}

/** The views of what the page has: their names, how they are called, and of the first of its kind where one is named. */
function listed(book: Book): [string, string, string][] {
  const { features, classes, tables, factors, maps, atlases, links, networks } = book.index;
  const first = (name: string, text: string, entries: { id: string }[]): [string, string, string, number] => [name, text, entries[0]?.id ?? "", entries.length];
  const every: [string, string, string, number][] = [
    ["features", "Features", "", features.key.length], ["classes", "Classes", "", classes.key.length], ["links", "Links", "", links.n],
    first("factors", "Factors", factors), first("atlas", "Atlas", atlases), first("map", "Maps", maps),
    ["compare", "Side by side", "", networks.length - 1], ["tables", "Tables", "", tables.length], ["glossary", "Glossary", "", 1],
  ];
  return every.filter(([name, , , n]) => n > 0 && VIEWS[name]).map(([name, text, of]) => [name, text, of]);
}

/** What an address that leads nowhere shows. */
export function nowhere(sentence: string, offers: TemplateResult | null = null): TemplateResult {
  return html`<h1 tabindex="-1">Nothing is here</h1><p>${sentence}</p>${offers ?? ""}<p><a href="#/">Back to the ${home().toLowerCase()}</a></p>`;
}

/** What the views of a page lead back to. */
function home(): string {
  return document.querySelector("mg-page > main.article") ? "Article" : "Report";
}
