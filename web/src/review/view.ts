// #/review is the queue, #/review/KEY one feature to be read: its pictures, without any name that somebody gave it.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Book } from "../book/book";
import type { FeatureCard, Sighting } from "../book/format";
import { PageElement } from "../elements/shared/element";
import { picture } from "../elements/shared/picture";
import { to } from "../router";
import { nowhere, register } from "../views/views";
import { brief, number, visible } from "../words";
import { reviewsOf } from "./identity";

register("review", (book: Book, address) => {
  if (!address.of) return html`<h1 tabindex="-1">Review</h1><mg-review></mg-review>`;
  if (book.feature(address.of) < 0) return nowhere(`This page has no feature named “${brief(address.of)}”.`, html`<p><a href="#/review">The review queue</a></p>`);
  return html`<mg-reading .key=${address.of}></mg-reading>`;
});

@customElement("mg-reading")
export class Reading extends PageElement {
  @property() key = "";
  @state() private card: FeatureCard | null = null;
  @state() private next: string | null = null;
  private of = "";

  protected override willUpdate(): void {
    if (this.of === this.key) return;
    this.of = this.key;
    this.card = null;
    void this.load(this.key);
  }

  private async load(key: string): Promise<void> {
    const card = await this.attempt(this.book.featureCard(this.book.feature(key)));
    if (key === this.key) this.card = card;
    await this.seek();
  }

  // Enter saves a label, and Enter again goes on to the next.
  private readonly saved = async (): Promise<void> => {
    await this.seek();
    await this.updateComplete;
    this.querySelector<HTMLElement>("a.next")?.focus();
  };

  private readonly seek = async (): Promise<void> => {
    const reviews = reviewsOf(this.book);
    if (!reviews?.reader) return;
    const found = await this.attempt(reviews.overview());
    this.next = found?.queue.keys.find((key) => key !== this.key) ?? null;
  };

  protected override render() {
    if (this.failed) return this.trouble();
    const card = this.card;
    const title = html`<nav class="rv-line"><a href="#/review">The review queue</a>
        ${this.next ? html`<a class="next" href=${to("review", this.next)}>Next: <bdi>${brief(this.next)}</bdi></a>` : nothing}</nav>
      <h1 tabindex="-1"><bdi>${brief(this.key)}</bdi></h1>`;
    if (!card) return html`${title}<p class="none">Decoding…</p>`;
    return html`${title}
      ${card.meaning ? html`<p class="none"><bdi>${visible(card.meaning)}</bdi></p>` : nothing}
      <div class="rv-reading"><div>${pictures(card)}</div>
        <mg-review-feature .key=${this.key} .saved=${this.saved}></mg-review-feature></div>
      <p><a href=${to("unit", this.key)}>All that is known of it</a> <small>(names that a program proposed stand there, too)</small></p>`;
  }
}

function pictures(card: FeatureCard): TemplateResult {
  const portraits = card.portraits.filter((portrait) => portrait.image !== null);
  return html`${portraits.length ? html`<h3>Made to excite it</h3><div class="rv-pictures">${portraits.map((portrait) => html`<figure>
      ${picture(portrait.image, portrait.objective)}<figcaption>${brief(portrait.objective)}</figcaption></figure>`)}</div>` : nothing}
    ${row("Excite it most", card.sightings.top)}${row("Over its whole range, strongest first", card.sightings.levels)}
    ${row("Excite it least", card.sightings.bottom)}
    ${!portraits.length && !card.sightings.top.length ? html`<p class="none">The runs of this page hold no picture of this feature. mulligan see examples makes them.</p>` : nothing}`;
}

function row(title: string, sightings: Sighting[]): TemplateResult | typeof nothing {
  if (!sightings.length) return nothing;
  return html`<h3>${title}</h3><div class="rv-pictures">${sightings.slice(0, 9).map((one) => html`<figure>
    ${picture(one.crop ?? one.example.image, "", text(one))}
    <figcaption>${one.example.activation === null ? "" : number(one.example.activation)}${one.example.label ? html` <bdi>${brief(one.example.label)}</bdi>` : nothing}</figcaption></figure>`)}</div>`;
}

function text(one: Sighting): TemplateResult {
  return html`<bdi>${one.example.tokens ? visible(one.example.tokens.join("")) : "no picture"}</bdi>`;
}
