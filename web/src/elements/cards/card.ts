// <mg-card>: all that the page knows of one feature, each number beside its control.

import { html, nothing, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import type { FeatureCard, Figure, Finding } from "../../book/format";
import { brief, number, plural, visible } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { drives, linked } from "./drives";
import { namedBy, namesUnit } from "../shared/named";
import { labels } from "./labels";
import { classLink, unprefixed } from "../shared/naming";
import { OneCard } from "./one";
import { portraits } from "./portraits";
import { from, quantity } from "../shared/quantity";
import { colours, ramp, sightings } from "./sightings";
import { sources } from "../shared/sources";
import { term } from "../shared/term";

@customElement("mg-card")
export class Card extends OneCard<FeatureCard> {
  protected decode(at: number): Promise<FeatureCard> {
    return this.book.featureCard(at);
  }

  protected named(finding: Finding, { network, site, unit }: FeatureCard): boolean {
    return finding.network === network && namesUnit(finding, site, unit);
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const card = this.card;
    if (!card) return html`<p class="none" aria-busy="true">Decoding…</p>`;
    const name = unprefixed(card.key, card.network);
    const { top, levels, bottom } = card.sightings;
    const shown = top.length + levels.length + bottom.length > 0;
    const facts = card.figures.length || card.range || card.notes.length;
    return html`
      <div class=${card.portraits.length && facts ? "opening" : ""}>
        ${card.portraits.length ? html`<section><h2>Optimized for it</h2>${portraits(card.portraits)}</section>` : nothing}
        ${facts ? html`<section><h2>In numbers</h2><dl class="figures">${card.figures.map(figure)}${span(card)}</dl>
          ${notes(card.notes)}</section>` : nothing}
      </div>
      ${namedBy(this.book, this.findings, "unit")}
      ${shown ? html`<section><h2>What it sees</h2>
        ${card.portraits.some(({ best }) => best !== null) && top.some(({ peak }) => peak.length) ? html`<p class="aside">The number below an example is the ${term("activation")} at its strongest place. What a picture reaches, and the best example beside it, are means over all places: the two are not to be compared.</p>` : nothing}
        ${colours([...top, ...levels, ...bottom])}
        ${sightings(this.book, card.network, "Strongest examples", top)}
        ${sightings(this.book, card.network, "Examples of several levels, from the strongest down", levels)}
        ${sightings(this.book, card.network, "Weakest examples", bottom)}
        ${ramp(this.book, card.heat)}</section>` : nothing}
      ${card.classes.length ? html`<section><h2>Classes among its ${plural(card.strongest, "strongest example")}</h2>${this.classes(card)}</section>` : nothing}
      ${card.labels.length ? html`<section><h2>What it may be called</h2>${labels(card.labels)}</section>` : nothing}
      ${card.drives.length || card.links ? html`<section><h2>What it drives</h2>${drives(this.book, card.network, card.drives, "output", name)}${linked(card.key, card.links)}</section>` : nothing}
      ${shown || card.portraits.length ? nothing : html`<p class="none">The runs of this page hold no picture of this unit; <code>mulligan see</code> makes them.</p>`}
      ${sources(this.book, card.sources)}`;
  }

  private classes(card: FeatureCard): TemplateResult {
    if (card.classes[0]![1] === 1) return html`<p>No class stands twice among them.</p>`;
    const axis = Axis.of([...card.classes.map(([, n]) => n), ...card.classes.map(([, , q]) => q?.high)]);
    return html`<div class="scroll dense" tabindex="0" role="region" aria-label="Classes among the strongest examples">
      <table class="stack"><thead><tr><th scope="col">Class</th><th scope="col" class="chart">${sign("main")}among them ${sign("control")}by chance${ticks(axis)}</th>
        <th scope="col">Among the strongest</th><th scope="col">By chance, with the range of 95 % of draws</th></tr></thead>
      <tbody>${card.classes.map(([name, n, chance, table]) => html`<tr><th scope="row">${classLink(this.book, card.network, name)}</th>
        <td class="chart">${track(axis, [...(chance ? [{ role: "control" as const, ...chance }] : []), { role: "main" as const, value: n }], 24)}</td>
        <td class="num" data-name="Among the strongest">${from(number(n), table)}</td><td data-name="By chance">${quantity(chance, table)}</td></tr>`)}</tbody></table></div>`;
  }
}

/** A figure beside its control, drawn on one axis where there is one. */
export function figure({ name, quantity: q, control, against, table }: Figure): TemplateResult {
  const marks: Mark[] = [...(control ? [{ role: "control" as const, ...control }] : []), ...(q ? [{ role: "main" as const, ...q }] : [])];
  const axis = Axis.of(marks.flatMap(({ value, low, high }) => [value, low, high]), true);
  return html`<div class="figure"><dt>${sign("main")}<bdi>${brief(name)}</bdi></dt>
    <dd>${q ? html`${track(axis, marks, 22)}${ticks(axis)}` : nothing}${quantity(q, table)}
      ${control ? html`<p class="against">${sign("control")}${brief(against || "its control")}: ${quantity(control)}</p>` : nothing}</dd></div>`;
}

function span({ range, sightings: { top } }: FeatureCard): TemplateResult | typeof nothing {
  if (!range) return nothing;
  const best = top[0]?.example.activation ?? null;
  const axis = Axis.of([range.low, range.high]);
  return html`<div class="figure"><dt>${sign("main")}${term("activation", "Activation")} over the data, mean and range</dt>
    <dd>${track(axis, [{ role: "main", value: range.mean, low: range.low, high: range.high, range: true }], 22)}${ticks(axis)}
      <span class="q">${from(html`<b>${number(range.mean)}</b>`, range.table)}, from ${number(range.low)} to ${number(range.high)}</span>
      <small>the mean, and the least and the largest on these data${best === null ? "" : `; its strongest example reaches ${number(best)}`}</small></dd></div>`;
}

export function notes(items: string[]): TemplateResult | typeof nothing {
  return items.length ? html`<ul class="notes">${items.map((note) => html`<li><bdi>${visible(note)}</bdi></li>`)}</ul>` : nothing;
}
