// <mg-map id="m0" at="EXAMPLE">: the same examples as points at one layer after another. An example that is pointed at, or
// chosen from the list that says the same, is marked in all of them.
//
// id: which maps of the page. at: the id of the example that is followed at first.

import { html, nothing, svg, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { FINEST, type MapEntry } from "../../book/explored";
import type { ExampleRef } from "../../book/format";
import { amend } from "../../router";
import { brief, number, plural } from "../../words";
import { PageElement } from "../shared/element";
import { exampleWords } from "../shared/example";
import { byItself } from "../shared/itself";
import { dark, mark } from "./marks";
import { near } from "../shared/near";
import { picture } from "../shared/picture";
import { KEYS, pressed, steer } from "./plane";
import { rove } from "../shared/roving";
import { Scatter, type Points } from "./scatter";
import { find } from "../shared/search";
import { unique } from "../shared/unique";

const LISTED = 60;
const BESIDE = 5;
const NAMED = 24; // groups of a legend

@customElement("mg-map")
export class MapElement extends PageElement {
  @property({ attribute: "id" }) of = "";
  @property() at = "";
  /** Whether the example that is followed stands in the address. */
  @property({ type: Boolean }) addressed = false;
  @state() private layers: Points[] | null = null;
  @state() private hovered = -1;
  @state() private chosen = -1;
  @state() private only: number | null = null;
  @state() private found: number[] = [];
  @state() private opened = false;
  private examples: (ExampleRef | undefined)[] = [];
  private scatters: Scatter[] = [];
  private readonly keys = unique();
  private ends: (() => void)[] = [];
  private readonly seen = new ResizeObserver(() => this.draw());

  private get entry(): MapEntry | undefined {
    return this.book.index.maps.find((map) => map.id === this.of);
  }

  override disconnectedCallback(): void {
    this.forget();
    super.disconnectedCallback();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    dark.addEventListener("change", this.recolour);
    this.requestUpdate();
  }

  private readonly recolour = (): void => {
    this.requestUpdate();
    this.draw();
  };

  private forget(): void {
    dark.removeEventListener("change", this.recolour);
    this.seen.disconnect();
    for (const end of this.ends) end();
    this.ends = this.scatters = [];
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("of") || changed.has("at")) this.failed = "";
    if (changed.has("of")) void this.attempt(this.load());
    else if (changed.has("at") && this.layers) void this.attempt(this.follow());
  }

  private async load(): Promise<void> {
    await near(this);
    const entry = this.entry;
    if (!entry) throw new Error(`This page has no maps named “${brief(this.of)}”.`);
    const group = Int16Array.from(await this.numbers(`map:${entry.id}:groups`));
    this.layers = await Promise.all(entry.sites.map(async (_, k) => {
      const flat = await this.numbers(`map:${entry.id}:${k}`);
      return { group, x: Float32Array.from(group, (_, i) => flat[2 * i]! / FINEST), y: Float32Array.from(group, (_, i) => flat[2 * i + 1]! / FINEST) };
    }));
    this.found = Array.from({ length: entry.n }, (_, i) => i);
    if (this.at) await this.follow();
  }

  /** The numbers of a series of blocks, one after another. */
  private async numbers(name: string): Promise<number[]> {
    const blocks = (await this.book.items(name, 0, this.book.index.series[name]?.n ?? 0)) as number[][];
    return blocks.flat();
  }

  private async all(): Promise<void> {
    const n = this.entry!.n;
    this.examples = (await this.book.items(`map:${this.of}:examples`, 0, n)) as ExampleRef[];
  }

  private async follow(): Promise<void> {
    if (!this.at) return this.choose(-1);
    await this.all();
    const found = this.examples.findIndex((example) => example?.id === this.at);
    if (found < 0) throw new Error(`These maps show no example “${brief(this.at)}”.`);
    this.choose(found);
  }

  /** Example i, if it is there; else it is fetched, and drawn when it has come. */
  private example(i: number): ExampleRef | undefined {
    if (i < 0 || this.examples[i]) return this.examples[i];
    void this.attempt(this.book.item(`map:${this.of}:examples`, i)).then((example) => {
      this.examples[i] = example as ExampleRef;
      this.requestUpdate();
    });
    return undefined;
  }

  private point(i: number): void {
    if (i === this.hovered) return;
    this.hovered = i;
    this.draw();
  }

  private choose(i: number): void {
    this.chosen = i;
    if (i >= 0) for (const scatter of this.scatters) scatter.reveal(i);
    this.draw();
    if (this.addressed) void this.address(i);
  }

  private async address(i: number): Promise<void> {
    const example = i < 0 ? null : ((await this.book.item(`map:${this.of}:examples`, i)) as ExampleRef);
    if (i === this.chosen) amend({ at: example?.id ?? null });
  }

  private draw(): void {
    for (const scatter of this.scatters) {
      scatter.hovered = this.hovered;
      scatter.chosen = this.chosen;
      scatter.only = this.only;
      scatter.draw();
    }
  }

  protected override updated(): void {
    const canvases = [...this.querySelectorAll("canvas")];
    if (!this.layers || canvases.length !== this.layers.length || this.scatters[0]?.canvas === canvases[0]) return;
    for (const end of this.ends) end();
    this.scatters = canvases.map((canvas, k) => new Scatter(canvas, this.layers![k]!));
    this.ends = this.scatters.map((scatter) => steer(scatter.canvas, {
      camera: scatter.camera,
      moved: scatter.draw,
      tapped: (px, py) => this.choose(scatter.near(px, py)),
    }));
    for (const canvas of canvases) this.seen.observe(canvas);
    if (this.chosen >= 0) for (const scatter of this.scatters) scatter.reveal(this.chosen);
    this.draw();
  }

  private async search(text: string): Promise<void> {
    await this.all();
    const told = this.examples.map((example, i) => `${exampleWords(example!)} ${example!.id} ${this.groupOf(i)}`);
    this.found = find(told, text) ?? told.map((_, i) => i);
  }

  private groupOf(i: number): string {
    const group = this.layers![0]?.group[i] ?? -1;
    return group < 0 ? "" : (this.entry!.groups[group] ?? "");
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const entry = this.entry;
    if (!entry || !this.layers) return nothing;
    return html`
      ${this.legend(entry)}
      <p class="keys" id="${this.keys}">Choose a map by a click or the tab key; then the wheel zooms it, too. ${KEYS}</p>
      <div class="panes" data-n=${Math.min(entry.sites.length, 5)}>${entry.sites.map((site, k) => this.pane(site.site, site.meaning, site.units, k))}</div>
      ${this.followed()}
      <details class="listed" @toggle=${(event: Event) => { this.opened = (event.target as HTMLDetailsElement).open; }}>
        <summary>${plural(entry.n, "example")} as a list, to follow one by the keyboard</summary>
        ${this.opened ? this.list() : nothing}
      </details>${byItself(this.addressed, "map", this.of, { at: this.examples[this.chosen]?.id ?? null })}`;
  }

  private legend(entry: MapEntry): TemplateResult | typeof nothing {
    if (!entry.groups.length) return nothing;
    return html`<ul class="legend" aria-label="Groups: one of them can be shown alone">
      ${entry.groups.slice(0, NAMED).map((name, g) => html`<li><button type="button" class="chip" aria-pressed=${this.only === g}
        @click=${() => { this.only = this.only === g ? null : g; this.draw(); }}>${sign(g)}<bdi>${brief(name)}</bdi></button></li>`)}
      ${entry.groups.length > NAMED ? html`<li class="left">and ${number(entry.groups.length - NAMED)} more groups</li>` : nothing}
    </ul>`;
  }

  private pane(site: string, meaning: string, units: number, k: number): TemplateResult {
    const name = brief(site);
    const zoom = (key: string) => (): void => {
      const scatter = this.scatters[k];
      if (!scatter) return;
      pressed(scatter.camera, key, scatter.canvas.clientWidth);
      scatter.draw();
    };
    return html`<figure class="pane">
      <canvas class="plane" tabindex="0" role="application" aria-roledescription="map" aria-label="Map of ${name}, ${plural(this.entry!.n, "example")}" aria-describedby="${this.keys}"
        @pointermove=${(event: PointerEvent) => { if (!event.buttons) this.point(this.scatters[k]?.near(event.offsetX, event.offsetY) ?? -1); }}
        @pointerleave=${() => this.point(-1)}></canvas>
      <figcaption><span><b><bdi>${name}</bdi></b> <bdi>${brief(meaning)}</bdi>, ${plural(units, "unit")}</span>
        <span class="zoomers"><button type="button" aria-label="Zoom ${name} in" @click=${zoom("+")}>+</button><button type="button" aria-label="Zoom ${name} out" @click=${zoom("-")}>−</button><button type="button" aria-label="Show all of ${name}" @click=${zoom("0")}>⤢</button></span></figcaption>
    </figure>`;
  }

  /** The example that is pointed at, or else the one that was chosen, and who is beside it where. */
  private followed(): TemplateResult {
    const i = this.hovered >= 0 ? this.hovered : this.chosen;
    const example = this.example(i);
    return html`<aside class="followed ${i < 0 || !example ? "idle" : ""}" aria-live="polite" aria-label="The example that is followed">
      ${i < 0 || !example ? html`<p class="none">Point at an example, or choose one, to follow it through all maps.</p>` : html`
        ${picture(example.image, exampleWords(example))}
        <div><p>${sign(this.layers![0]?.group[i] ?? -1)} <bdi>${exampleWords(example)}</bdi>${this.groupOf(i) && this.groupOf(i) !== example.label ? html`, group <bdi>${brief(this.groupOf(i))}</bdi>` : nothing}
          <small>example <code>${brief(example.id)}</code></small></p>
          ${i === this.chosen ? html`<button type="button" class="chip" @click=${() => this.choose(-1)}>Follow none</button>` : nothing}</div>`}
    </aside>
    ${this.chosen >= 0 ? this.neighbours(this.chosen) : nothing}`;
  }

  private neighbours(i: number): TemplateResult {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Who lies beside the example that is followed"><table class="beside">
      <caption>Who lies beside it, nearest first</caption>
      <tbody>${this.entry!.sites.map((site, k) => html`<tr><th scope="row"><bdi>${brief(site.site)}</bdi></th>
        ${(this.scatters[k]?.beside(i, BESIDE) ?? []).map((other) => html`<td>${this.button(other, true)}</td>`)}</tr>`)}</tbody></table></div>`;
  }

  private list(): TemplateResult {
    return html`<label class="search">Search for a label, an answer or an id
        <input type="search" @input=${(event: Event) => void this.attempt(this.search((event.target as HTMLInputElement).value))}></label>
      <p class="left" role="status">${plural(this.found.length, "example")}${this.found.length > LISTED ? `, the first ${LISTED} are listed: search to narrow them` : ""}</p>
      <ul class="picks" @keydown=${rove}>${this.found.slice(0, LISTED).map((i) => html`<li>${this.button(i)}</li>`)}</ul>`;
  }

  /** `small`: its picture stands for its words, where it has one. */
  private button(i: number, small = false): TemplateResult {
    const example = this.example(i);
    const words = example ? exampleWords(example) : "…";
    const pictured = small && typeof example?.image === "number";
    return html`<button type="button" class="pick" data-item aria-pressed=${i === this.chosen} aria-label=${pictured ? words : nothing} title=${pictured ? words : nothing}
      @click=${() => this.choose(i)} @focus=${() => this.point(i)} @blur=${() => this.point(-1)} @pointerenter=${() => this.point(i)} @pointerleave=${() => this.point(-1)}>
      ${example ? picture(example.image, "") : nothing}<span>${sign(this.layers![0]?.group[i] ?? -1)} ${pictured ? nothing : html`<bdi>${words}</bdi>`}</span></button>`;
  }
}

/** A group's shape and colour beside its words. */
function sign(group: number): TemplateResult {
  const { shape, colour } = mark(group);
  return html`<svg class="sign-mark" viewBox="-2 -2 4 4" aria-hidden="true" focusable="false">${svg`<path d=${shape} fill=${colour}/>`}</svg>`;
}
