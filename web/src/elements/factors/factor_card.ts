// One factor: what it is, where it is strongest, how strong it is, why it mattered, each beside its controls.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import type { FactorCard, FactorEffect, FactorsEntry } from "../../book/explored";
import { brief, number, visible } from "../../words";
import { Axis, sign, ticks, track } from "../charts/chart";
import { dots } from "../charts/dots";
import { classLink, unitLink } from "../shared/naming";
import { portraits } from "../cards/portraits";
import { from, quantity } from "../shared/quantity";
import { sightings } from "../cards/sightings";

export function factorCard(book: Book, entry: FactorsEntry, card: FactorCard): TemplateResult {
  const { network, site } = entry;
  return html`<div class="factor">
    ${card.notes.length ? html`<ul class="notes">${card.notes.map((note) => html`<li><bdi>${visible(note)}</bdi></li>`)}</ul>` : nothing}
    <div class="sight"><div><p class="label">What is it?</p>
        ${card.portrait ? portraits([{ ...card.portrait, table: null }]) : html`<p class="none">No picture was made.</p>`}
        <p><small>Largest units of its direction: ${card.units.map(([unit, weight], i) => html`${i ? ", " : ""}${unitLink(book, network, site, unit)} (${number(weight)})`)}</small></p></div>
      <div>${card.strongest.length ? sightings(book, network, "Where is it strongest?", card.strongest) : html`<p class="label">Where is it strongest?</p><p class="none">Not looked for.</p>`}</div></div>
    <p class="label">How strong is it?</p>
    ${dots([
      ["This factor", "main", card.share, card.table], ["Same rank, random twin", "control", card.twin, card.table],
      ["Same rank, units shuffled", "baseline", card.shuffled, card.table],
    ], `Share of factor ${card.number} beside its controls`)}
    <dl class="facts wide"><div><dt>Size</dt><dd>${quantity(card.size, card.table)}</dd></div>
      <div><dt>At most, at one place</dt><dd>${number(card.largest)}</dd></div></dl>
    ${card.effect ? html`<p class="label">Why did it matter for <bdi>${brief(card.effect.output)}</bdi>? ${confirmed(card.effect)}</p>
      ${effect(card, card.effect, true)}` : nothing}
    ${card.here ? html`<p class="label">On this picture</p>${effect(card, card.here, false)}` : nothing}
    <p class="label">For which classes does it speak?</p>${speaks(book, network, card)}</div>`;
}

export function confirmed({ confirmed }: FactorEffect): TemplateResult {
  if (confirmed === null) return html`<span class="none">not measured</span>`;
  return confirmed ? html`<span class="tag yes">confirmed</span>` : html`<span class="tag no">not confirmed</span>`;
}

function effect(card: FactorCard, { attribution, taken_out, control }: FactorEffect, tabled: boolean): TemplateResult {
  const table = tabled ? card.table : null;
  return html`<dl class="facts wide"><div><dt>Gives to the logit</dt><dd>${quantity(attribution, table)}</dd></div></dl>
    ${dots([["Taken out", "main", taken_out, table], ["As much of a shuffled direction", "control", control, table]], `Effect of factor ${card.number} beside its control`)}`;
}

function speaks(book: Book, network: number, card: FactorCard): TemplateResult {
  if (!card.classes.length) return html`<p class="none">For none that the data tell: no class's logit falls for sure when it is taken out.</p>`;
  const axis = Axis.of(card.classes.flatMap(({ change, control }) => [change, control].flatMap((q) => [q.value, q.low, q.high])));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Classes that factor ${card.number} speaks for"><table class="drives">
    <thead><tr><th scope="col">Class</th><th scope="col" class="chart">${sign("main")}taken out ${sign("control")}shuffled direction${ticks(axis)}</th>
      <th scope="col">Its logit when the factor is taken out</th><th scope="col">Shuffled direction</th></tr></thead>
    <tbody>${card.classes.map(({ name, change, control, table }) => html`<tr><th scope="row">${classLink(book, network, name)}</th>
      <td class="chart">${track(axis, [{ role: "control", ...control }, { role: "main", ...change }], 30)}</td>
      <td>${quantity(change, table)}</td><td>${from(quantity(control), null)}</td></tr>`)}</tbody></table></div>`;
}
