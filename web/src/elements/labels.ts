// Names that were proposed for a feature, each with how well it predicts the feature on examples held out.

import { html, nothing, type TemplateResult } from "lit";
import type { Label } from "../book/format";
import { brief, number, visible } from "../words";
import { Axis, sign, ticks, track, type Mark } from "./chart";
import { from, quantity } from "./quantity";
import { term } from "./term";

export function labels(items: Label[], of: string): TemplateResult | typeof nothing {
  if (!items.length) return nothing;
  const axis = Axis.of([0, 1], true);
  const charted = items.some((item) => item.auc);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Names of ${brief(of)}">
    <table class="stack"><thead><tr><th scope="col">Name</th><th scope="col">By</th>
      ${charted ? html`<th scope="col" class="chart">${sign("main")}${term("AUC")} ${sign("control")}names shuffled ${sign("baseline")}${term("random-weight twin", "twin")}${ticks(axis)}</th>` : nothing}
      <th scope="col">Predicts it, held-out examples</th><th scope="col">Names shuffled</th><th scope="col">On a random-weight twin</th><th scope="col">Variance explained</th>
      <th scope="col">Fits of the strongest</th><th scope="col">Fits of ordinary ones</th><th scope="col">Beats chance</th><th scope="col">People agree</th></tr></thead>
    <tbody>${items.map((item) => html`<tr><th scope="row"><bdi>${brief(item.text)}</bdi>${item.note ? html`<br><small><bdi>${visible(item.note)}</bdi></small>` : nothing}</th>
      <td data-name="By"><bdi>${brief(item.overseer)}</bdi>${item.author ? html`, <bdi>${brief(item.author)}</bdi>` : nothing}${item.date ? html`, ${brief(item.date)}` : nothing}</td>
      ${charted ? html`<td class="chart">${track(axis, marks(item), 30)}</td>` : nothing}
      <td data-name="Predicts it, held-out examples">${quantity(item.auc, item.table)}</td><td data-name="Names shuffled">${quantity(item.twin, item.table)}</td><td data-name="On a random-weight twin">${quantity(item.random, item.table)}</td>
      <td data-name="Variance explained">${quantity(item.explained, item.table)}</td><td data-name="Fits of the strongest">${quantity(item.strong, item.table)}</td><td data-name="Fits of ordinary ones">${quantity(item.ordinary, item.table)}</td>
      <td data-name="Beats chance">${beats(item)}</td><td data-name="People agree">${quantity(item.agreement, item.table)}${item.judged === null ? nothing : html`<br><small>of this one: ${number(item.judged, 2)}</small>`}</td></tr>`)}</tbody></table></div>`;
}

function beats({ beats, p, table }: Label): TemplateResult {
  const said = beats === null ? html`<span class="none">not measured</span>` : beats ? html`<span class="tag yes">yes</span>` : html`<span class="tag no">no</span>`;
  return html`${said}${p === null ? nothing : html` <small>${from(`p = ${number(p)}`, table)}</small>`}`;
}

function marks({ auc, twin, random }: Label): Mark[] {
  const roles = [["baseline", random], ["control", twin], ["main", auc]] as const;
  return roles.flatMap(([role, q]) => (q ? [{ role, ...q }] : []));
}
