// A number never without its interval, its unit and how many it rests on; it leads to the row that it came from.

import { html, type TemplateResult } from "lit";
import type { Quantity, Reference } from "../../book/format";
import { to } from "../../router";
import { NOT_MEASURED, shown } from "../../words";

/** Something shown, as a link to the row of a table that it came from. */
export function from(what: unknown, table: Reference | null): TemplateResult {
  if (!table) return html`${what}`;
  return html`<a class="from" href=${to("table", table[0], { row: table[1] })} title="The row that this came from">${what}</a>`;
}

export function quantity(q: Quantity | null, table: Reference | null = null): TemplateResult {
  if (!q) return html`<span class="none">${NOT_MEASURED}</span>`;
  const s = shown(q);
  return html`<span class="q"><span class="ci">${from(html`<b>${s.value}</b> ${s.interval}`, table)}</span> <small><bdi>${s.unit}</bdi>, <span class="ci">${s.n}</span></small></span>`;
}
