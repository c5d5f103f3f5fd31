// <mg-unit key="blocks.5:12; class tabby">: features side by side, each as a picture that was optimized for it, what real
// examples show of it, and how far the picture gets beside the same effort on a network that learned nothing.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { ClassCard, FeatureCard, Portrait, Sighting } from "../../book/format";
import { to } from "../../router";
import { brief, number } from "../../words";
import { PageElement } from "../shared/element";
import { whenIdle } from "../shared/idle";
import { picture, type PictureElement } from "../shared/picture";

interface Shown {
  name: string;
  address: string;
  portrait: Portrait | null;
  top: Sighting[];
}

const CLASS = "class ";
const EXAMPLES = 3;

@customElement("mg-unit")
export class UnitElement extends PageElement {
  @property() key = "";
  @state() private units: Shown[] | null = null;

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("key")) void this.load();
  }

  private async load(): Promise<void> {
    const keys = this.key.split(";").map((key) => key.trim()).filter(Boolean);
    this.units = await this.attempt(Promise.all(keys.map((key) => this.one(key))));
  }

  private async one(key: string): Promise<Shown> {
    const name = key.startsWith(CLASS) ? key.slice(CLASS.length) : key;
    const i = key.startsWith(CLASS) ? this.book.class(name) : this.book.feature(name);
    if (i < 0) throw new Error(`This page has no card of ${brief(key)}.`);
    if (key.startsWith(CLASS)) {
      const card: ClassCard = await this.book.classCard(i);
      return { name: `class ${card.name}`, address: to("class", name), portrait: card.portraits[0] ?? null, top: card.sightings };
    }
    const card: FeatureCard = await this.book.featureCard(i);
    return { name, address: to("unit", name), portrait: card.portraits[0] ?? null, top: card.sightings.top };
  }

  /** Pictures further down are decoded when there is time: who prints the page wants to see them. */
  protected override updated(): void {
    if (this.units) whenIdle(() => this.querySelectorAll<PictureElement>("mg-picture").forEach((shown) => void shown.load()));
  }

  protected override render() {
    if (this.failed) return this.trouble();
    if (!this.units) return nothing;
    const most = Math.max(1, ...this.units.flatMap(({ portrait: p }) => (p ? [times(p.reached, p.best), times(p.twin, p.twin_best)] : []))
      .filter((value): value is number => value !== null));
    const told = this.units.some(({ portrait }) => portrait?.best);
    const columns = this.units.length <= 5 ? this.units.length : 4;
    return html`<ul class="units" style="--columns:${columns}">${this.units.map((unit) => this.drawn(unit, most))}</ul>
      ${told ? html`<p class="units-key"><span class="bar main"></span> optimized picture <span class="bar control"></span> the same on a random-weight twin; the line marks what each network's best real example reaches</p>` : nothing}`;
  }

  private drawn({ name, address, portrait, top }: Shown, most: number): TemplateResult {
    return html`<li>
      ${portrait ? html`<a href=${address}>${picture(portrait.image, `Picture optimized for ${brief(name)}`)}</a>` : nothing}
      ${this.examples(name, top)}
      <a class="unit-name" href=${address}><bdi>${brief(name)}</bdi></a>
      ${portrait?.best ? html`<div class="bars">
        ${bar("main", "picture", portrait.reached, portrait.best, most)}
        ${portrait.twin === null ? nothing : bar("control", "random twin", portrait.twin, portrait.twin_best, most)}
      </div>` : nothing}
      ${portrait?.marks.map((mark) => html`<p class="tag no">${mark}</p>`)}
    </li>`;
  }

  private examples(name: string, top: Sighting[]): TemplateResult | typeof nothing {
    const seen = top.slice(0, EXAMPLES).filter((s) => s.crop !== null || s.example.image !== null);
    if (!seen.length) return nothing;
    return html`<div class="unit-examples">${seen.map((s) => {
      const words = `A real example of ${brief(name)}, activation ${number(s.example.activation)}`;
      return html`<span title=${words}>${picture(s.crop ?? s.example.image, words)}</span>`;
    })}</div>`;
  }
}

function times(reached: number | null, best: number | null): number | null {
  return reached === null || !best || best <= 0 ? null : reached / best;
}

/** How many times what the best example reaches; the line stands at once. */
function bar(kind: "main" | "control", what: string, reached: number, best: number | null, most: number): TemplateResult {
  const ratio = times(reached, best);
  if (ratio === null) return html`<p class="unit-ratio">${what}: ${number(reached)}</p>`;
  const width = Math.max(0, Math.min(1, ratio / most)) * 100;
  const words = `${what}: ${number(reached)}, ${number(ratio)} times the best example's ${number(best)}`;
  return html`<p class="unit-ratio" title=${words}><span class="track"><span class="bar ${kind}" style="width:${width.toFixed(1)}%"></span><span class="one" style="left:${(100 / most).toFixed(1)}%"></span></span>
    <span class="num" aria-label=${words}>${number(ratio, Math.abs(ratio) < 1 ? 2 : 1)} ×</span></p>`;
}
