// A number never without its interval, its unit and how many it rests on; it leads to the table that it came from.

import { html, nothing, type TemplateResult } from "lit";
import type { Quantity } from "../book/format";
import { to } from "../router";
import { NOT_MEASURED, shown } from "../words";

export function quantity(q: Quantity | null, table: [string, string] | null = null): TemplateResult {
  if (!q) return html`<span class="none">${NOT_MEASURED}</span>`;
  const s = shown(q);
  const value = html`<b>${s.value}</b> ${s.interval}`;
  const link = table ? html`<a class="from" href=${to("table", table[0], { row: table[1] })} title="The table that this came from">${value}</a>` : value;
  return html`<span class="q"><span class="ci">${link}</span> <small><bdi>${s.unit}</bdi>, <span class="ci">${s.n}</span></small></span>`;
}

/** A number beside the same number's control. */
export function beside(name: string, q: Quantity | null, control: Quantity | null, controlName: string, table: [string, string] | null = null): TemplateResult {
  return html`<div><dt>${name}</dt><dd>${quantity(q, table)}
    ${control ? html`<br><span class="control-line">${controlName}: ${quantity(control)}</span>` : nothing}</dd></div>`;
}
