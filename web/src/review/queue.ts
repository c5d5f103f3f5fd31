// <mg-review>: the queue: what waits for me, how far each layer is, where readers differ, how far they agree.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { quantity } from "../elements/shared/quantity";
import { to } from "../router";
import { brief, number, plural, visible } from "../words";
import type { LayerState, Overview, Reviews } from "./client";
import { said } from "./feature";
import { ReviewElement } from "./element";
import { named, needed } from "./identity";
import { wear } from "./style";

const COUNTS = [
  ["Features", "features"], ["Labelled", "once"], ["By two", "twice"], ["Agreed", "agreed"], ["Settled", "resolved"],
  ["Disputed", "disputed"], ["Waiting", "waiting"],
] as const;

@customElement("mg-review")
export class ReviewQueue extends ReviewElement {
  @state() private now: Overview | null = null;
  @state() private told = "";
  @state() private renaming = false;
  private begun = false;

  protected override willUpdate(): void {
    if (this.begun || !this.reviews) return;
    this.begun = true;
    void this.load();
  }

  protected override async load(): Promise<void> {
    this.renaming = false;
    this.now = await this.attempt(this.reviews!.overview());
  }

  protected override render() {
    const reviews = this.reviews;
    if (!reviews) return html`<p class="none">This page was opened from disk. Run mulligan serve to review it together.</p>`;
    wear();
    if (this.failed) return this.trouble();
    const now = this.now;
    if (!now) return html`<p class="none">Asking the server…</p>`;
    return html`${this.who(reviews)}
      ${this.told ? html`<p role="status">${this.told}</p>` : nothing}
      ${this.queue(now, reviews)}${this.layers(now, reviews)}${this.disputes(now)}${this.agreement(now)}${this.findings(now)}`;
  }

  private who(reviews: Reviews): TemplateResult {
    const lacking = needed(reviews);
    if (lacking !== nothing) return html`${lacking}`;
    if (this.renaming) return named(reviews);
    return html`<p class="rv-line">You are <b><bdi>${brief(reviews.reader)}</bdi></b>
      <button type="button" @click=${() => (this.renaming = true)}>I am somebody else</button></p>`;
  }

  private queue(now: Overview, reviews: Reviews): TemplateResult | typeof nothing {
    if (!reviews.reader) return nothing;
    const { n, keys } = now.queue;
    return html`<h2>Your queue</h2>
      ${n
        ? html`<p>${plural(n, "feature")} to read. <a href=${to("review", keys[0])}><b>Read the next one</b></a></p>
          <ul class="rv-queue">${keys.slice(0, 40).map((key) => html`<li><a href=${to("review", key)}><bdi>${brief(key)}</bdi></a></li>`)}
            ${n > 40 ? html`<li>and ${number(n - 40)} more</li>` : nothing}</ul>`
        : html`<p class="none">Nothing waits for you. Take some of a layer.</p>`}`;
  }

  private layers(now: Overview, reviews: Reviews): TemplateResult {
    const may = reviews.writable && Boolean(reviews.token && reviews.reader);
    return html`<h2>Progress by layer</h2>
      <p class="rv-line"><label for="rv-for">Features are taken for</label>
        <input id="rv-for" type="text" maxlength="80" list="rv-readers" .value=${reviews.reader} ?disabled=${!may}>
        <datalist id="rv-readers">${now.readers.map((name) => html`<option value=${name}></option>`)}</datalist></p>
      <div class="rv-table rv-layers"><table><thead><tr><th scope="col">Layer</th>${COUNTS.map(([name]) => html`<th scope="col">${name}</th>`)}
        <th scope="col"><span class="sr">Take some</span></th></tr></thead>
      <tbody>${now.layers.map((layer) => html`<tr><th scope="row"><bdi>${brief(layer.site)}</bdi>${bar(layer)}</th>
        ${COUNTS.map(([name, field]) => html`<td data-name=${name}>${number(layer[field])}</td>`)}
        <td class="act">${may ? html`<button type="button" @click=${() => this.take(layer, false)}>Take 20</button><button type="button"
          @click=${() => this.take(layer, true)} title="Twenty features that exactly one other reader has">Second 20</button>` : nothing}</td></tr>`)}
      </tbody></table></div>
      <p><small>Take: those that the fewest readers have. Second: those that exactly one other reader has, without seeing what they said.</small></p>`;
  }

  private async take(layer: LayerState, second: boolean): Promise<void> {
    const field = this.querySelector<HTMLInputElement>("#rv-for");
    const reader = field?.value.trim() || this.reviews!.reader;
    const done = await this.reviews!.take(layer, reader, 20, second).catch((error: unknown) => {
      this.told = error instanceof Error ? error.message : String(error);
      return null;
    });
    if (!done) return;
    this.told = done.changed
      ? `${plural(done.changed, "feature")} of ${brief(layer.site)} for ${brief(reader)}.`
      : `There is nothing left to ${second ? "read a second time" : "take"} in ${brief(layer.site)}.`;
    await this.load();
  }

  private disputes(now: Overview): TemplateResult {
    const { n, features } = now.disputes;
    return html`<h2>Where readers differ</h2>
      ${n ? html`<p>${plural(n, "feature")}${n > features.length ? `, the first ${number(features.length)} here` : ""}. A third reader settles each, or one of the two changes their label.</p>` : html`<p class="none">Nowhere, as far as you may see.</p>`}
      ${features.map((one) => html`<h3><a href=${to("review", one.key)}><bdi>${brief(one.key)}</bdi></a></h3>
        <ul class="rv-said">${one.labels.map((label) => html`<li>${said(label)}</li>`)}</ul>`)}`;
  }

  private agreement(now: Overview): TemplateResult | typeof nothing {
    if (!now.agreement.length) return nothing;
    return html`<h2>How far readers agree</h2>
      <p>Of features that both labelled without seeing the other's label: the same words but for case and spaces, or a third reader's word that they say the same.</p>
      <div class="rv-table"><table><tbody>${now.agreement.map((pair) => html`<tr><th scope="row"><bdi>${brief(pair.readers[0])}</bdi> and <bdi>${brief(pair.readers[1])}</bdi></th>
        <td>${quantity(pair.share)}${pair.judged ? html`<br><small>${number(pair.judged)} by a third reader's word</small>` : nothing}</td></tr>`)}</tbody></table></div>`;
  }

  private findings(now: Overview): TemplateResult | typeof nothing {
    const all = this.book.index.findings;
    if (!all.length) return nothing;
    return html`<h2>Findings</h2>${all.map((finding) => html`<h3><bdi>${brief(finding.id)}</bdi> ${finding.lead ? "lead" : finding.severity}</h3>
      <p><bdi>${visible(finding.claim)}</bdi></p>
      <mg-review-finding .run=${finding.run} .finding=${finding.id}></mg-review-finding>`)}
      ${now.findings.length < all.length ? html`<p class="none">Some findings cannot be judged here.</p>` : nothing}`;
  }
}

function bar(layer: LayerState): TemplateResult {
  const share = (n: number) => `${layer.features ? Math.round((100 * n) / layer.features) : 0}%`;
  return html`<span class="rv-bar" style="--once:${share(layer.once)};--twice:${share(layer.twice)}" role="img"
    aria-label="${share(layer.once)} labelled, ${share(layer.twice)} by two readers"></span>`;
}
