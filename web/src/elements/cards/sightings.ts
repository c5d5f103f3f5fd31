// Examples of the data in which something was seen: the region that fired, the whole picture under its heat map, or text.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import type { ExampleRef, Reference, Sighting } from "../../book/format";
import { brief, number, token, visible } from "../../words";
import { classLink } from "../shared/naming";
import { picture } from "../shared/picture";
import { from } from "../shared/quantity";

export function sightings(book: Book, network: number, title: unknown, items: Sighting[]): TemplateResult | typeof nothing {
  if (!items.length) return nothing;
  const kind = items.some(({ example }) => example.tokens) ? "texts" : items.some(({ heat }) => heat !== null) ? "seen" : "";
  return html`<p class="label">${title}</p>
    <ul class="examples ${kind}">${items.map((item) => sighting(book, network, item))}</ul>`;
}

/** Examples that were not looked into. */
export function examples(book: Book, network: number, title: unknown, items: ExampleRef[]): TemplateResult | typeof nothing {
  return sightings(book, network, title, items.map((example) => ({ example, peak: [], box: null, crop: null, heat: null, table: null })));
}

function sighting(book: Book, network: number, { example, peak, box, crop, heat, table }: Sighting): TemplateResult {
  if (example.tokens) return html`<li class="text"><figure>${tokens(example)}${caption(book, network, example, table)}</figure></li>`;
  const told = words(example);
  const id = brief(example.id);
  const region = crop ?? example.image;
  const missing = html`<span class="thumb missing">no picture is stored</span>`;
  return html`<li class="image"><figure>
    <div class=${heat === null ? "" : "both"}>
      ${picture(region, `${crop === null ? "Example" : "What it sees of example"} ${id}: ${told}`, missing)}
      ${picture(heat, `Heat map over the whole of example ${id}${place(peak, box)}`)}
    </div>
    ${caption(book, network, example, table)}</figure></li>`;
}

function caption(book: Book, network: number, example: ExampleRef, table: Reference | null): TemplateResult {
  const { label, answer, activation } = example;
  const same = label !== null && label === answer;
  return html`<figcaption>
    ${activation === null ? nothing : html`<span class="fires">${from(number(activation), table)}</span>`}
    ${label === null ? nothing : html`<span>${classLink(book, network, label)}</span>`}
    ${answer === null ? nothing : same ? html`<span>answered so</span>` : html`<span>answered ${classLink(book, network, answer)}</span>`}
    ${label === null && answer === null && activation === null ? html`<span>example <bdi>${brief(example.id)}</bdi></span>` : nothing}
  </figcaption>`;
}

function words({ label, answer, activation }: ExampleRef): string {
  const parts = [label === null ? "" : brief(label), answer === null ? "" : `answered ${brief(answer)}`, activation === null ? "" : `activation ${number(activation)}`];
  return parts.filter(Boolean).join(", ") || "no more is known of it";
}

function place(peak: number[], box: Sighting["box"]): string {
  const where = peak.length === 2 ? `, strongest at row ${peak[0]}, column ${peak[1]} of its grid` : "";
  return where + (box ? `, which sees pixels ${box[0]} to ${box[2]} across and ${box[1]} to ${box[3]} down` : "");
}

const MOST_TOKENS = 200;

/** What the colours of tokens stand for, and why some texts have none. */
export function colours(items: Sighting[]): TemplateResult | typeof nothing {
  const texts = items.flatMap(({ example }) => (example.tokens ? [example] : []));
  if (!texts.length) return nothing;
  const traced = texts.filter(({ weights }) => weights?.some(Boolean)).length;
  return html`<p class="aside tokens-key">${traced ? html`<bdi class="hot" style="--w:.8">Orange</bdi>: above zero at this token. <bdi class="cold" style="--w:.8">Blue</bdi>: below zero. The stronger the colour, the further, within one text. <bdi class="peak">Framed</bdi>: the strongest.` : nothing}
    ${traced < texts.length ? `${traced ? "Texts without colours were" : "No text is coloured: they were"} not measured token by token; the beginning of each is shown.` : nothing}</p>`;
}

/** Tokens on a shade of their weight, the strongest framed; a title has the number. */
export function tokens({ tokens, weights }: ExampleRef): TemplateResult {
  const all = tokens ?? [];
  const given = all.map((_, i) => weights?.[i] ?? 0);
  const most = Math.max(...given.map(Math.abs), 0) || 1;
  const peak = given.some(Boolean) ? given.indexOf(Math.max(...given)) : -1;
  const shade = (weight: number) => `--w:${(Math.abs(weight) / most).toFixed(2)}`;
  return html`<p class="tokens">${all.slice(0, MOST_TOKENS).map((text, i) => html`<bdi class="${given[i]! < 0 ? "cold" : "hot"}${i === peak ? " peak" : ""}" style=${shade(given[i]!)} title=${number(given[i]!)}>${token(text)}</bdi>`)}${all.length > MOST_TOKENS ? html` <span class="left">(${number(all.length - MOST_TOKENS)} more tokens)</span>` : nothing}</p>`;
}

/** What the colours of heat maps stand for. */
export function ramp(book: Book, heat: [number, number] | null): TemplateResult | typeof nothing {
  if (!heat) return nothing;
  const [low, high] = [number(heat[0]) + (heat[0] === 0 ? " or less" : ""), number(heat[1])];
  const colours = book.index.heat.filter((colour) => /^#[0-9a-f]{6}$/i.test(colour)).join(",");
  return html`<p class="ramp"><span>${low}</span><span class="bar" role="img" aria-label="Colours of heat maps from ${low} to ${high}, dark to light"
    style="background:linear-gradient(90deg,${colours})"></span><span>${high}</span></p>`;
}

/** The strongest examples alone, small: for previews. */
export function glimpse(items: Sighting[], most = 4): TemplateResult | typeof nothing {
  const shown = items.filter((item) => item.crop !== null || item.example.image !== null).slice(0, most);
  if (shown.length) return html`<div class="glimpse">${shown.map((item) => picture(item.crop ?? item.example.image, ""))}</div>`;
  const text = items.find((item) => item.example.tokens)?.example.tokens;
  return text ? html`<p class="tokens"><bdi>${visible(text.join(""), 160)}</bdi></p>` : nothing;
}
