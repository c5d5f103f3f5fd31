// What a unit drives, or what drives an output: estimated, then measured beside a unit drawn at random.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import type { Drive } from "../../book/format";
import { to } from "../../router";
import { brief, plural } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { classLink, unitLink } from "../shared/naming";
import { picture } from "../shared/picture";
import { quantity } from "../shared/quantity";
import { term } from "../shared/term";

/** `by` says what each row names: the output that a unit drives, or the unit that drives an output. */
export function drives(book: Book, network: number, items: Drive[], by: "output" | "unit", of: string): TemplateResult | typeof nothing {
  if (!items.length) return nothing;
  const axis = Axis.of(items.flatMap(({ ablation, control }) => [ablation, control].flatMap((q) => (q ? [q.value, q.low, q.high] : []))));
  const measured = items.some((item) => item.ablation);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${by === "output" ? `What ${brief(of)} drives` : `What drives ${brief(of)}`}>
    <table class="stack"><thead><tr><th scope="col">${by === "output" ? "Output" : "Unit"}</th><th scope="col">${term("attribution", "Attribution")}</th>
      ${measured ? html`<th scope="col" class="chart">${sign("main")}${term("ablation", "Ablation")} ${sign("control")}of a random unit${ticks(axis)}</th>` : nothing}
      <th scope="col">Ablation, measured</th><th scope="col">Of a random unit</th><th scope="col">Confirmed</th></tr></thead>
    <tbody>${items.map((item) => html`<tr>
      <th scope="row">${by === "output" ? output(book, network, item) : unit(book, network, item)}</th>
      <td data-name="Attribution">${quantity(item.attribution, item.table)}</td>
      ${measured ? html`<td class="chart">${track(axis, marks(item), 30)}</td>` : nothing}
      <td data-name="Ablation, measured">${quantity(item.ablation, item.table)}</td><td data-name="Of a random unit">${quantity(item.control, item.table)}</td><td data-name="Confirmed">${confirmed(item)}</td></tr>`)}</tbody></table></div>`;
}

/** Where a unit or a class that stands at so many edges is drawn among what it is linked with. */
export function linked(key: string, edges: number): TemplateResult | typeof nothing {
  return edges ? html`<p class="more-of"><a href=${to("links", "", { at: key })}>What drives what around it, as a graph of ${plural(edges, "edge")}</a></p>` : nothing;
}

function output(book: Book, network: number, item: Drive): TemplateResult {
  return classLink(book, network, item.output);
}

function unit(book: Book, network: number, item: Drive): TemplateResult {
  const at = book.feature(book.keyOf(network, item.site, item.unit));
  const shot = at < 0 ? null : book.index.features.picture[at]!;
  return html`<span class="withshot">${shot === null ? html`<span class="shot"></span>` : html`<span class="shot">${picture(shot, "")}</span>`}${unitLink(book, network, item.site, item.unit)}</span>`;
}

function marks({ ablation, control }: Drive): Mark[] {
  return [
    ...(control ? [{ role: "control" as const, ...control }] : []),
    ...(ablation ? [{ role: "main" as const, ...ablation }] : []),
  ];
}

function confirmed({ confirmed }: Drive): TemplateResult {
  if (confirmed === null) return html`<span class="none">not measured</span>`;
  return confirmed ? html`<span class="tag yes">confirmed</span>` : html`<span class="tag no">not confirmed</span>`;
}
