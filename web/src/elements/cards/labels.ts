// Names that were proposed for a feature, each with how well it predicts the feature on examples held out.

import { html, nothing, type TemplateResult } from "lit";
import type { Label, Quantity } from "../../book/format";
import { brief, number, visible } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { from, quantity } from "../shared/quantity";
import { term } from "../shared/term";

export function labels(items: Label[]): TemplateResult {
  return html`<ul class="labels">${items.map((item) => html`<li>
    <h3><bdi>${brief(item.text)}</bdi> <small>${by(item)}</small> ${beats(item)}</h3>
    ${item.note ? html`<p><bdi>${visible(item.note)}</bdi></p>` : nothing}
    ${chart(item)}
    <dl class="facts">${fact(html`Predicts it on held-out examples`, item.auc, item)}${fact("The same with names shuffled", item.twin, item)}
      ${fact(html`On a ${term("random-weight twin")}`, item.random, item)}${fact("Variance explained", item.explained, item)}
      ${fact("Fits so many of the strongest", item.strong, item)}${fact("Fits so many of ordinary ones", item.ordinary, item)}
      ${fact("People agree with such names", item.agreement, item)}
      ${item.judged === null ? nothing : html`<div><dt>People on this one, from 0 (wrong) to 1 (right)</dt><dd>${from(number(item.judged), item.table)}</dd></div>`}</dl></li>`)}</ul>`;
}

function by({ overseer, author, date }: Label): TemplateResult {
  return html`by <bdi>${brief(overseer)}</bdi>${author ? html`, <bdi>${brief(author)}</bdi>` : nothing}${date ? html`, ${brief(date)}` : nothing}`;
}

function fact(name: unknown, q: Quantity | null, { table }: Label): TemplateResult {
  return html`<div><dt>${name}</dt><dd>${quantity(q, table)}</dd></div>`;
}

function beats({ beats, p, table }: Label): TemplateResult | typeof nothing {
  if (beats === null) return nothing;
  return html`<span class="tag ${beats ? "yes" : "no"}">${beats ? "beats chance" : "does not beat chance"}</span>${p === null ? nothing : html` <small>${from(`p = ${number(p)}`, table)}</small>`}`;
}

function chart({ auc, twin, random }: Label): TemplateResult | typeof nothing {
  if (!auc) return nothing;
  const axis = Axis.of([0, 1], true);
  const roles = [["baseline", random], ["control", twin], ["main", auc]] as const;
  const marks: Mark[] = roles.flatMap(([role, q]) => (q ? [{ role, ...q }] : []));
  return html`<div class="labelled">${track(axis, marks, 26)}${ticks(axis)}
    <p class="aside">${term("AUC")}: ${sign("main")}this name ${twin ? html`${sign("control")}names shuffled` : nothing} ${random ? html`${sign("baseline")}on a random-weight twin` : nothing}</p></div>`;
}
