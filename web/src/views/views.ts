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
  return html`<nav class="back" aria-label="Page"><a href="#/">← <span>Article</span>: ${brief(book.index.title)}</a>
      ${listed(book).map(([name, text]) => html`<a href=${to(name)} aria-current=${address.view === name && !address.of ? "page" : nothing}>${text}</a>`)}</nav>
    ${draw ? draw(book, address) : nowhere(`There is no view named “${brief(address.view)}”.`)}`;
}

/** The views that list what the page has. */
function listed(book: Book): [string, string][] {
  const { features, classes, tables } = book.index;
  const every: [string, string, number][] = [
    ["features", "Features", features.key.length], ["classes", "Classes", classes.key.length], ["tables", "Tables", tables.length], ["glossary", "Glossary", 1],
  ];
  return every.filter(([name, , n]) => n && VIEWS[name]).map(([name, text]) => [name, text]);
}

/** What an address that leads nowhere shows. */
export function nowhere(sentence: string, offers: TemplateResult | null = null): TemplateResult {
  return html`<h1 tabindex="-1">Nothing is here</h1><p>${sentence}</p>${offers ?? ""}<p><a href="#/">Back to the article</a></p>`;
}
