// What a link leads to, before one follows it: over any unit, class or word of the glossary, by mouse or by keyboard.
// Escape closes it, the mouse may enter it, and fingers never meet it: for them a word of the glossary opens it.

import { html, render, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import { read, type Address } from "../../router";
import { brief, number, plural, visible } from "../../words";
import { featureName, networkOf, networkTag, selectiveFor } from "../shared/naming";
import type { Page } from "./page";
import { picture } from "../shared/picture";
import { glimpse } from "../cards/sightings";

const SHOWN = new Set(["unit", "class", "glossary"]);
const WAIT = 140;

class Preview {
  private box: HTMLElement | null = null;
  private link: HTMLAnchorElement | null = null;
  private timer = 0;

  constructor() {
    document.addEventListener("pointerover", this.over);
    document.addEventListener("focusin", this.focused);
    document.addEventListener("focusout", this.left);
    document.addEventListener("keydown", this.key, true);
    document.addEventListener("click", this.pressed, true);
    window.addEventListener("hashchange", this.close);
    window.addEventListener("scroll", this.scrolled, { capture: true, passive: true });
  }

  private readonly over = (event: PointerEvent): void => {
    if (event.pointerType === "touch") return;
    const target = event.target as Element;
    if (this.box?.contains(target)) return this.later(null);
    const link = linkOf(target);
    if (link !== this.link || link === null) this.later(link ?? "close");
    else this.later(null);
  };

  private readonly focused = (event: FocusEvent): void => {
    const link = linkOf(event.target as Element);
    if (link?.matches(":focus-visible")) void this.show(link);
    else if (!link) this.close();
  };

  private readonly left = (): void => {
    if (this.link && document.activeElement !== this.link) this.later("close");
  };

  private readonly key = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || !this.link) return;
    event.stopPropagation();
    this.close();
  };

  // A finger cannot hover: on a word of the glossary it sees what the word means, where it stands.
  private readonly pressed = (event: MouseEvent): void => {
    const touched = (event as PointerEvent).pointerType === "touch";
    const link = linkOf(event.target as Element);
    if (touched && link?.classList.contains("term") && link !== this.link) {
      event.preventDefault();
      void this.show(link);
    } else if (!this.box?.contains(event.target as Element)) this.close();
  };

  // What scrolls away is let go; its own list scrolling under the keyboard is not.
  private readonly scrolled = (event: Event): void => {
    if (this.link && document.activeElement !== this.link && !this.box?.contains(event.target as Node)) this.close();
    else if (this.link) this.place();
  };

  private later(what: HTMLAnchorElement | "close" | null): void {
    clearTimeout(this.timer);
    if (what === "close" && !this.link) return;
    if (what) this.timer = window.setTimeout(() => (what === "close" ? this.close() : void this.show(what)), WAIT);
  }

  readonly close = (): void => {
    clearTimeout(this.timer);
    this.link?.removeAttribute("aria-describedby");
    this.link = null;
    this.box?.remove();
    this.box = null;
  };

  private async show(link: HTMLAnchorElement): Promise<void> {
    const page = link.closest<Page>("mg-page");
    const address = read(link.hash);
    if (!page?.book || !address) return;
    clearTimeout(this.timer);
    if (link === this.link) return;
    this.close();
    this.link = link;
    const first = at(page.book, address, null);
    if (first === nothing) return;
    const box = document.createElement("div");
    box.className = "preview";
    box.id = "mg-preview";
    box.setAttribute("role", "tooltip");
    page.append(box);
    this.box = box;
    link.setAttribute("aria-describedby", box.id);
    render(first, box);
    this.place();
    const more = await details(page.book, address).catch(() => null);
    if (this.box !== box || !more) return;
    render(at(page.book, address, more), box);
    this.place();
  }

  private place(): void {
    const [box, link] = [this.box, this.link];
    if (!box || !link) return;
    const at = link.getClientRects()[0] ?? link.getBoundingClientRect();
    const gap = 6;
    const below = at.bottom + gap + box.offsetHeight <= window.innerHeight || at.top < box.offsetHeight + gap;
    box.style.left = `${Math.max(gap, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - gap))}px`;
    box.style.top = `${below ? at.bottom + gap : at.top - gap - box.offsetHeight}px`;
  }
}

function linkOf(target: Element): HTMLAnchorElement | null {
  const link = target.closest?.<HTMLAnchorElement>("a[href^='#/']") ?? null;
  return link?.closest("mg-page") && SHOWN.has(read(link.hash)?.view ?? "") && !link.closest(".preview") ? link : null;
}

/** What takes a moment to be decoded: the best examples of a feature, what drives a class. */
async function details(book: Book, { view, of }: Address): Promise<TemplateResult | null> {
  if (view === "unit") return html`${glimpse((await book.featureCard(book.feature(of))).sightings.top)}`;
  if (view !== "class") return null;
  const card = await book.classCard(book.class(of));
  const [first, second, third] = card.drives;
  const driving = [first, second, third].filter((drive) => drive !== undefined);
  return html`${card.sightings.length ? glimpse(card.sightings) : nothing}
    ${driving.length ? html`<p>Driven by ${driving.map(({ site, unit }, i) => html`${i ? ", " : ""}<bdi><code>${brief(`${site}:${unit}`)}</code></bdi>`)}</p>` : nothing}`;
}

function at(book: Book, { view, of }: Address, more: TemplateResult | null): TemplateResult | typeof nothing {
  if (view === "glossary") {
    const meaning = book.index.glossary[of];
    return meaning ? html`<p><b>${brief(of)}</b> ${visible(meaning)}</p>` : nothing;
  }
  if (view === "unit") {
    const i = book.feature(of);
    if (i < 0) return nothing;
    const { label, picture: pictures } = book.index.features;
    const selective = selectiveFor(book, i);
    return html`<div class="head">${pictures[i] === null ? nothing : html`<span class="shot">${picture(pictures[i]!, "")}</span>`}<div>
        <p><bdi><code>${brief(featureName(book, i))}</code></bdi>${networkTag(book, networkOf(book, i))}</p>
        ${label[i] ? html`<p class="named">“<bdi>${brief(label[i]!)}</bdi>”</p>` : nothing}
        ${selective ? html`<p><small>selective for <bdi>${brief(selective)}</bdi></small></p>` : nothing}</div></div>${more ?? nothing}`;
  }
  const i = book.class(of);
  if (i < 0) return nothing;
  const { name, network, n, recall, picture: pictures } = book.index.classes;
  return html`<div class="head">${pictures[i] === null ? nothing : html`<span class="shot">${picture(pictures[i]!, "")}</span>`}<div>
      <p><bdi>${brief(name[i]!)}</bdi>${networkTag(book, network[i]!)}</p>
      <p><small>${recall[i] === null ? "" : `recall ${number(recall[i], 2)}`}${n[i] === null ? "" : `${recall[i] === null ? "" : ", "}${plural(n[i]!, "example")}`}</small></p></div></div>${more ?? nothing}`;
}

new Preview();
