// Which view stands behind an address. A module that has one names it here.

import { html, type TemplateResult } from "lit";
import type { Book } from "../book/book";
import { brief } from "../words";
import type { Address } from "../router";

export type View = (book: Book, address: Address) => TemplateResult;

const VIEWS: Record<string, View> = {};

export function register(name: string, draw: View): void {
  VIEWS[name] = draw;
}

export function view(book: Book, address: Address): TemplateResult {
  const draw = VIEWS[address.view];
  return html`<nav class="back" aria-label="Back"><a href="#/">${brief(book.index.title)}</a></nav>
    ${draw ? draw(book, address) : nowhere(`There is no view named “${brief(address.view)}”.`)}`;
}

/** What an address that leads nowhere shows. */
export function nowhere(sentence: string, offers: TemplateResult | null = null): TemplateResult {
  return html`<h1 tabindex="-1">Nothing is here</h1><p>${sentence}</p>${offers ?? ""}<p><a href="#/">Back to the article</a></p>`;
}
