// <mg-class-card>: all that the page knows of one class: how it is answered, how it looks, and which units drive it.

import { html, nothing, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import type { ClassCard as Of, Finding } from "../../book/format";
import { to } from "../../router";
import { number, plural } from "../../words";
import { figure, notes } from "./card";
import { drives, linked } from "./drives";
import { namedBy, namesClass } from "../shared/named";
import { classLink, ends, featureName, networkOf, selectiveFor } from "../shared/naming";
import { NO_PICTURE, picture } from "../shared/picture";
import { OneCard } from "./one";
import { portraits } from "./portraits";
import { examples, sightings } from "./sightings";
import { sources } from "../shared/sources";
import { term } from "../shared/term";

const MOST = 24;

@customElement("mg-class-card")
export class ClassCard extends OneCard<Of> {
  protected decode(at: number): Promise<Of> {
    return this.book.classCard(at);
  }

  protected named(finding: Finding, { network, name }: Of): boolean {
    return finding.network === network && namesClass(finding, name);
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const card = this.card;
    if (!card) return html`<p class="none" aria-busy="true">Decoding…</p>`;
    const shown = card.sightings.length + card.examples.length > 0;
    const facts = card.figures.length || card.confused.length || card.notes.length || card.n !== null;
    return html`
      <div class=${card.portraits.length && facts ? "opening" : ""}>
        ${card.portraits.length ? html`<section><h2>Optimized for its ${term("logit")}</h2>${portraits(card.portraits)}</section>` : nothing}
        ${facts ? html`<section><h2>How it is answered</h2>${card.n === null ? nothing : html`<p>${plural(card.n, "example")} of it in the data.</p>`}
          <dl class="figures">${card.figures.map(figure)}${this.confused(card)}</dl>${notes(card.notes)}</section>` : nothing}
      </div>
      ${namedBy(this.book, this.findings, "class")}
      ${card.drives.length || card.links ? html`<section><h2>What drives it</h2>${drives(this.book, card.network, card.drives, "unit", card.name)}${linked(card.key, card.links)}</section>` : nothing}
      ${this.selective(card)}
      ${shown ? html`<section><h2>Examples</h2>${sightings(this.book, card.network, "Where its score comes from", card.sightings)}
        ${examples(this.book, card.network, card.sightings.length ? "More examples" : "Examples of the data", card.examples)}</section>` : nothing}
      ${sources(this.book, card.sources)}`;
  }

  private confused({ confused, network }: Of): TemplateResult | typeof nothing {
    if (!confused.length) return nothing;
    return html`<div class="figure"><dt>Most often confused with</dt><dd>${confused.map(([name, n], i) => html`${i ? ", " : ""}${classLink(this.book, network, name)} (${number(n)})`)}</dd></div>`;
  }

  /** Units that tell it from the rest: the other way to what drives it. */
  private selective({ name, network }: Of): TemplateResult | typeof nothing {
    const { key, picture: pictures, scores } = this.book.index.features;
    const score = scores["selectivity"] ?? [];
    const found = key.map((_, i) => i).filter((i) => selectiveFor(this.book, i) === name && networkOf(this.book, i) === network);
    if (!found.length) return nothing;
    found.sort((a, b) => (score[b] ?? 0) - (score[a] ?? 0));
    return html`<section><h2>Units selective for it</h2>
      <p>Units that answer to it more than to any other class, by ${term("selectivity")} (${term("AUC")} on examples held out), the most selective first.</p>
      <ul class="strip">${found.slice(0, MOST).map((i) => html`<li><a href=${to("unit", key[i]!)}><span class="shot">${picture(pictures[i]!, "", NO_PICTURE)}</span>
        <span class="told"><span>${ends(featureName(this.book, i))}</span><small>${number(score[i], 2)}</small></span></a></li>`)}</ul>
      ${found.slice(0, MOST).some((i) => pictures[i] === null) ? html`<p class="aside">No picture: ${this.book.index.left_out ? html`it did not fit into this page, or no run made one` : html`no run of this page made one`}; <code>mulligan see</code> makes them.</p>` : nothing}
      ${found.length > MOST ? html`<p class="more-of"><a href=${to("features", "", { q: name, sort: "selectivity" })}>All ${number(found.length)} of them</a></p>` : nothing}</section>`;
  }
}
