// Which runs a card was joined from.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import { to } from "../../router";
import { brief, visible } from "../../words";

export function sources(book: Book, items: { run: number; file: string }[]): TemplateResult | typeof nothing {
  const unlike = items.filter(({ run, file }, i) => items.findIndex((one) => one.run === run && one.file === file) === i);
  if (!unlike.length) return nothing;
  return html`<section class="sources"><h2>Where this comes from</h2><ul>${unlike.map(({ run, file }) => {
    const entry = book.index.runs[run];
    if (!entry) return nothing;
    const tables = book.index.tables.filter((table) => table.id.startsWith(`${entry.id}-`));
    return html`<li><code>${brief(file)}</code> of the run <bdi><code>${brief(entry.folder)}</code></bdi>
      ${entry.command ? html`<pre class="command" tabindex="0" role="region" aria-label="Command that made ${brief(entry.folder)}">${visible(entry.command, null)}</pre>` : nothing}
      <p>Its tables: ${tables.map((table, i) => html`${i ? ", " : ""}<a href=${to("table", table.id)}>${brief(table.title)}</a>`)}</p></li>`;
  })}</ul></section>`;
}
