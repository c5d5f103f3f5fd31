// Who writes, and whether this tab may. One per page: every element that writes asks it.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../book/book";
import { Reviews } from "./client";

const known = new WeakMap<Book, Reviews>();

/** The server's reviewing, or null where the page was opened from disk. */
export function reviewsOf(book: Book): Reviews | null {
  const review = book.index.review;
  if (!review) return null;
  let found = known.get(book);
  if (!found) {
    found = new Reviews(review.base, review.writable !== false);
    known.set(book, found);
  }
  return found;
}

/** Why nothing can be written now, with the field that mends it; nothing where all is well. */
export function needed(reviews: Reviews): TemplateResult | typeof nothing {
  if (!reviews.writable) return html`<p class="none">This server keeps no reviews: it was started where none can be written.</p>`;
  if (!reviews.token) {
    return html`<form class="rv-line" @submit=${take("token", (value) => (reviews.token = value))}>
      <label for="rv-token">Token</label><input id="rv-token" name="token" type="password" autocomplete="off" required>
      <button>Write in this tab</button>
      <small>It was printed where the server was started, in the address that ends in ?token=.</small></form>`;
  }
  if (!reviews.reader) return named(reviews);
  return nothing;
}

/** The form in which a reader says their name. */
export function named(reviews: Reviews): TemplateResult {
  return html`<form class="rv-line" @submit=${take("reader", (value) => (reviews.reader = value))}>
    <label for="rv-reader">Your name</label>
    <input id="rv-reader" name="reader" type="text" maxlength="80" autocomplete="name" required .value=${reviews.reader}>
    <button>This is me</button><small>It stands beside everything that you write.</small></form>`;
}

function take(field: string, keep: (value: string) => void) {
  return (event: SubmitEvent) => {
    event.preventDefault();
    const value = String(new FormData(event.target as HTMLFormElement).get(field) ?? "").trim();
    if (value) keep(value);
  };
}
