// <mg-factors id="f0" factor="2">: a handful of parts into which a layer's activations fall. A factor that is pointed at, or
// chosen, is lit in the pictures alone.
//
// id: which factors of the page. factor: the number of the one that is lit and open at first.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { FactorCard, FactoredPicture, FactorsEntry } from "../../book/explored";
import type { Quantity } from "../../book/format";
import { amend } from "../../router";
import { brief, shown } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { dots } from "../charts/dots";
import { PageElement } from "../shared/element";
import { elbow, percent } from "../charts/elbow";
import { exampleWords } from "../shared/example";
import { confirmed, factorCard } from "./factor_card";
import { byItself } from "../shared/itself";
import { near } from "../shared/near";
import { picture } from "../shared/picture";
import { swatch } from "../charts/swatch";

const SHOWN = 0.005; // a smaller share of a picture is not in its legend

@customElement("mg-factors")
export class FactorsElement extends PageElement {
  @property({ attribute: "id" }) of = "";
  @property({ type: Number }) factor = 0;
  /** Whether the factor that was chosen stands in the address. */
  @property({ type: Boolean }) addressed = false;
  @state() private cards: FactorCard[] = [];
  @state() private pictures: FactoredPicture[] = [];
  @state() private pointed = 0;
  @state() private there = false;

  private get entry(): FactorsEntry | undefined {
    return this.book.index.factors.find((one) => one.id === this.of);
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (!changed.has("of")) return;
    this.failed = "";
    void this.attempt(this.load());
  }

  private async load(): Promise<void> {
    await near(this);
    if (!this.entry) throw new Error(`This page has no factors named “${brief(this.of)}”.`);
    const all = (name: string): Promise<unknown[]> => this.book.items(name, 0, this.book.index.series[name]?.n ?? 0);
    const [cards, pictures] = await Promise.all([all(`factors:${this.of}:cards`), all(`factors:${this.of}:pictures`)]);
    this.cards = cards as FactorCard[];
    this.pictures = pictures as FactoredPicture[];
    this.there = true;
  }

  private choose(number: number): void {
    this.factor = this.factor === number ? 0 : number;
    if (this.addressed) amend({ factor: this.factor || null });
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const entry = this.entry;
    if (!entry || !this.there) return nothing;
    const { explained, twin, shuffled, table } = entry;
    return html`
      ${this.cards.length ? html`<h3>Where they are</h3>
        <p>Each place has the colour, the hatching and the number of its largest factor. The percentages say how much of the picture's squared activation each explains.</p>
        <div class="legend" role="group" aria-label="Light one factor alone"><span>Light one alone:</span> ${this.cards.map((card) => this.chip(card))}</div>
        <ul class="factored ${this.pictures.length === 1 ? "one" : ""}">${this.pictures.map((one) => html`<li>${this.picture(one)}</li>`)}</ul>
        <h3>The factors in rows</h3>
        <p>The effect is on <bdi>${brief(entry.output)}</bdi>, over examples of the data: what integrated gradients say that the factor gives to the logit, and what happens to the logit when the factor is taken out of the activation, beside taking out as much of a shuffled direction.</p>
        ${this.rows(entry)}
        <h3>One by one</h3>
        ${this.cards.map((card) => html`<details class="unit" .open=${card.number === this.factor}><summary>${swatch(card)} Factor ${card.number}, share <span class="ci">${shown(card.share).value} ${shown(card.share).interval}</span> <small><bdi><code>${brief(card.feature)}</code></bdi></small></summary>${factorCard(this.book, entry, card)}</details>`)}`
        : html`<p class="none">There are no factors.</p>`}
      <h3>How many</h3>
      ${dots([["All factors", "main", explained, table], ["On a random twin", "control", twin, table], ["Of shuffled units", "baseline", shuffled, table]], "What all factors explain together, beside its controls")}
      ${elbow(entry.elbow)}${byItself(this.addressed, "factors", this.of, { factor: this.factor || null })}`;
  }

  private chip(card: FactorCard): TemplateResult {
    const lit = { point: () => { this.pointed = card.number; }, leave: () => { this.pointed = 0; } };
    return html`<button type="button" class="chip" aria-pressed=${card.number === this.factor} aria-label="Factor ${card.number}" @click=${() => this.choose(card.number)}
      @pointerenter=${lit.point} @pointerleave=${lit.leave} @focus=${lit.point} @blur=${lit.leave}>${swatch(card)}</button>`;
  }

  /** Where factor `number` is in a picture: as it was stored with it, or with the factor's own strongest examples. */
  private alone(one: FactoredPicture, number: number): number | null {
    const stored = one.alone[number - 1] ?? null;
    return stored ?? this.cards[number - 1]?.strongest.find(({ example }) => example.id === one.example.id)?.heat ?? null;
  }

  private picture(one: FactoredPicture): TemplateResult {
    const lit = this.pointed || this.factor;
    const words = exampleWords(one.example);
    const alone = lit ? this.alone(one, lit) : null;
    const share = lit ? (one.shares[lit - 1] ?? 0) : 0;
    const missing = (what: string) => html`<span class="thumb missing">${what}</span>`;
    return html`<figure class=${lit && alone === null ? "unlit" : ""}>
      <div class="two">${picture(one.example.image, `Example: ${words}`, missing("the picture is missing"))}
        ${alone === null ? picture(one.overlay, `The same under its factors' colours: ${words}`, missing("the overlay is missing"))
          : picture(alone, `Where factor ${lit} is in this picture, clear where it is large`)}</div>
      <figcaption><bdi>${words}</bdi>
        ${lit && alone === null ? html`<span class="none">Factor ${lit} explains ${percent(share)} here; no picture of it alone is stored.</span>` : nothing}
        <ul class="shares">${this.cards.filter(({ number }) => (one.shares[number - 1] ?? 0) >= SHOWN || number === lit).map((card) => html`<li class=${card.number === lit ? "now" : ""}>${swatch(card)} ${percent(one.shares[card.number - 1] ?? 0)}</li>`)}
          ${one.shares.length > this.cards.length ? html`<li>rest ${percent(one.shares[this.cards.length]!)}</li>` : nothing}</ul></figcaption></figure>`;
  }

  /** Every factor on a row: share beside its controls, effect beside its control, each column on one axis. */
  private rows(entry: FactorsEntry): TemplateResult {
    const ends = (items: (Quantity | null | undefined)[]) => items.flatMap((q) => (q ? [q.value, q.low, q.high] : []));
    const share = Axis.of(ends(this.cards.flatMap((card) => [card.share, card.twin, card.shuffled])));
    const effect = Axis.of(ends(this.cards.flatMap(({ effect: e }) => [e?.attribution, e?.taken_out, e?.control])));
    const mark = (role: Mark["role"], q: Quantity | null | undefined): Mark[] => (q ? [{ role, ...q }] : []);
    return html`<div class="scroll" tabindex="0" role="region" aria-label="All factors, a row each"><table class="factor-rows">
      <thead><tr><th scope="col">Factor</th><th scope="col">Picture</th>
        <th scope="col" class="chart">Share: ${sign("main")}here ${sign("control")}twin ${sign("baseline")}shuffled${ticks(share)}</th>
        <th scope="col" class="chart">Logit: ${sign("main")}taken out ${sign("control")}shuffled direction ${sign("baseline")}given${ticks(effect)}</th><th scope="col">Effect</th></tr></thead>
      <tbody>${this.cards.map((card) => html`<tr class=${card.number === (this.pointed || this.factor) ? "now" : ""}><th scope="row">${this.chip(card)}</th>
        <td class="portrait">${card.portrait ? picture(card.portrait.image, `Picture optimized for factor ${card.number}`, html`<span class="none">none</span>`) : html`<span class="none">none</span>`}</td>
        <td class="chart">${track(share, [...mark("baseline", card.shuffled), ...mark("control", card.twin), ...mark("main", card.share)], 30)}</td>
        <td class="chart">${card.effect ? track(effect, [...mark("baseline", card.effect.attribution), ...mark("control", card.effect.control), ...mark("main", card.effect.taken_out)], 30) : html`<span class="none">not measured</span>`}</td>
        <td>${card.effect ? confirmed(card.effect) : html`<span class="none">not measured</span>`}</td></tr>`)}</tbody></table></div>
      <p class="keys">The numbers of each are below, and in the <a href="#/table/${entry.table[0]}">table of factors</a>.</p>`;
  }
}
