// <mg-atlas id="a0" of-class="tabby" x="0.4" y="0.6" z="3" level="16">: a layer's activations laid out in the plane, at several
// zooms; two networks on one layout stand side by side and move together.
//
// id: which atlas of the page. of-class: a class or label whose cells are outlined. x, y, z: the place in the middle, from
// 0 to 1, and how many times it is enlarged. level: cells along a side, where not automatic.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { AtlasCell, AtlasEntry, AtlasLevel } from "../../book/explored";
import type { Quantity } from "../../book/format";
import { amend } from "../../router";
import { brief, number, plural, shown } from "../../words";
import { captionOf, effectOf, holds, labelsOf, levelAt, namesIn, pushed, pushes, pushesOf, sorted } from "./atlas_levels";
import { AtlasPlane } from "./atlas_plane";
import { PageElement } from "../shared/element";
import { byItself } from "../shared/itself";
import { dark } from "./marks";
import { classLink } from "../shared/naming";
import { near } from "../shared/near";
import { networkName } from "../shared/networks";
import { Camera, KEYS, pressed, steer } from "./plane";
import { rove } from "../shared/roving";
import { unique } from "../shared/unique";

const LISTED = 24;

interface Place {
  pane: number;
  cell: AtlasCell;
}

@customElement("mg-atlas")
export class AtlasElement extends PageElement {
  @property({ attribute: "id" }) of = "";
  @property({ attribute: "of-class" }) sought = "";
  @property({ type: Number }) x = 0.5;
  @property({ type: Number }) y = 0.5;
  @property({ type: Number }) z = 1;
  @property({ type: Number }) level = 0;
  /** Whether what is shown stands in the address. */
  @property({ type: Boolean }) addressed = false;
  @state() private there = false;
  @state() private hovered: Place | null = null;
  @state() private chosen: Place | null = null;
  @state() private listing = 0;
  @state() private most = LISTED;
  private camera = new Camera(64);
  private planes: AtlasPlane[] = [];
  private readonly keys = unique();
  private ends: (() => void)[] = [];
  private telling = 0;
  private readonly seen = new ResizeObserver(() => this.settle());

  private get entry(): AtlasEntry | undefined {
    return this.book.index.atlases.find((atlas) => atlas.id === this.of);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    dark.addEventListener("change", this.redraw);
    this.requestUpdate();
  }

  override disconnectedCallback(): void {
    dark.removeEventListener("change", this.redraw);
    this.seen.disconnect();
    for (const end of this.ends) end();
    this.ends = this.planes = [];
    super.disconnectedCallback();
  }

  private readonly redraw = (): void => {
    for (const plane of this.planes) plane.draw();
  };

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("x") || changed.has("y") || changed.has("z")) this.camera.look(this.x, this.y, this.z);
    if (changed.has("of")) {
      this.failed = "";
      void this.attempt(this.begin());
    }
  }

  private async begin(): Promise<void> {
    await near(this);
    if (!this.entry) throw new Error(`This page has no atlas named “${brief(this.of)}”.`);
    if (!this.entry.panes.every((pane) => pane.levels.length)) throw new Error("This atlas has no zoom.");
    this.there = true;
  }

  protected override updated(): void {
    const frames = [...this.querySelectorAll<HTMLElement>(".atlas-frame")];
    if (this.there && frames.length && this.planes[0]?.canvas !== frames[0]!.querySelector("canvas")) this.set(frames);
    for (const [k, plane] of this.planes.entries()) {
      plane.hovered = this.hovered?.pane === k ? this.hovered.cell : null;
      plane.chosen = this.chosen?.pane === k ? this.chosen.cell : null;
      // The same cell of the other network is outlined, too: one layout, one place.
      const here = this.hovered ?? this.chosen;
      if (here && here.pane !== k) plane.hovered = plane.cell(here.cell.row, here.cell.column);
      plane.sought = this.sought;
    }
    this.settle();
    this.portray();
  }

  private set(frames: HTMLElement[]): void {
    for (const end of this.ends) end();
    this.planes = frames.map((frame, k) => {
      const canvas = frame.querySelector("canvas")!;
      this.seen.observe(canvas);
      const words = frame.querySelector<HTMLElement>(".atlas-words")!;
      return new AtlasPlane(canvas, this.camera, this.entry!.panes[k]!, words, (n) => this.book.picture(n), () => this.portray());
    });
    this.ends = this.planes.map((plane, k) => steer(plane.canvas, {
      camera: this.camera,
      moved: () => this.moved(),
      tapped: (px, py) => {
        const cell = plane.under(px, py);
        this.chosen = cell && { pane: k, cell };
        if (cell) this.listing = k;
      },
    }));
  }

  /** Each plane shows the zoom that fits, and knows its cells. */
  private settle(): void {
    for (const plane of this.planes) {
      const level = levelAt(plane.pane.levels, this.level, plane.canvas.clientWidth || 600, this.camera.zoom);
      if (plane.level !== level) {
        plane.level = level;
        this.chosen = this.hovered = null;
      }
      if (!plane.knows(level)) void this.attempt(this.learn(plane, level));
      plane.draw();
    }
  }

  private async learn(plane: AtlasPlane, level: AtlasLevel): Promise<void> {
    plane.learn(level, []);
    plane.learn(level, (await this.book.items(level.cells, 0, this.book.index.series[level.cells]?.n ?? 0)) as AtlasCell[]);
    this.requestUpdate();
  }

  private moved(): void {
    this.hovered = null;
    const before = this.planes.map((plane) => plane.level);
    this.settle();
    if (this.planes.some((plane, k) => plane.level !== before[k])) this.requestUpdate();
    this.tell();
  }

  /** Writes into the address what is shown, once it rests. */
  private tell(): void {
    if (!this.addressed) return;
    clearTimeout(this.telling);
    const { x, y, zoom } = this.camera;
    const away = zoom > 1.001;
    this.telling = window.setTimeout(() => amend({
      z: away ? zoom.toFixed(2) : null, x: away ? x.toFixed(3) : null, y: away ? y.toFixed(3) : null,
      class: this.sought || null, level: this.level || null,
    }), 250);
  }

  private point(pane: number, event: PointerEvent): void {
    if (event.buttons) return;
    const cell = this.planes[pane]?.under(event.offsetX, event.offsetY) ?? null;
    if (cell !== this.hovered?.cell) this.hovered = cell && { pane, cell };
  }

  private seek(name: string): void {
    this.sought = name.trim();
    this.most = LISTED;
    this.tell();
  }

  /** A cell from the list: it is shown, and what is in it. */
  private visit(pane: number, cell: AtlasCell): void {
    const plane = this.planes[pane];
    if (plane) this.camera.reveal((cell.column + 0.5) / plane.level.side, (cell.row + 0.5) / plane.level.side);
    this.chosen = { pane, cell };
    this.tell();
  }

  private portray(): void {
    for (const canvas of this.querySelectorAll<HTMLCanvasElement>(".cell-picture")) {
      const plane = this.planes[Number(canvas.dataset.pane)];
      const here = this.hovered ?? this.chosen;
      const cell = here && plane?.cell(here.cell.row, here.cell.column);
      canvas.hidden = !cell || !plane?.portray(cell, canvas);
    }
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const entry = this.entry;
    if (!entry || !this.there) return nothing;
    return html`${this.controls(entry)}
      <div class="atlas-body" data-n=${entry.panes.length}>
        <div class="panes" data-n=${entry.panes.length}>${entry.panes.map((_, k) => this.pane(entry, k))}</div>
        ${this.said(entry)}</div>
      <p class="keys" id="${this.keys}">Choose the atlas by a click or the tab key; then the wheel zooms it, too. ${KEYS}</p>
      ${this.list(entry)}${byItself(this.addressed, "atlas", this.of, { class: this.sought })}`;
  }

  private controls(entry: AtlasEntry): TemplateResult {
    const levels = entry.panes[0]!.levels;
    const pin = (side: number) => (): void => {
      this.level = side;
      this.tell();
    };
    const zoom = (key: string) => (): void => {
      pressed(this.camera, key, this.planes[0]?.canvas.clientWidth ?? 600);
      this.moved();
    };
    const names = namesIn(this.planes.flatMap((plane) => plane.cells));
    return html`<div class="controls">
      <div role="group" aria-label="Cells along a side"><button type="button" class="chip" aria-pressed=${!this.level} @click=${pin(0)}>automatic</button>
        ${levels.map(({ side }) => html`<button type="button" class="chip" aria-pressed=${this.level === side} @click=${pin(side)}>${side} x ${side}</button>`)}</div>
      <span class="zoomers"><button type="button" aria-label="Zoom in" @click=${zoom("+")}>+</button><button type="button" aria-label="Zoom out" @click=${zoom("-")}>−</button><button type="button" aria-label="Show all of it" @click=${zoom("0")}>⤢</button></span>
      <label class="search">Outline cells of a class
        <input type="search" list="${this.keys}-names" .value=${this.sought} @change=${(event: Event) => this.seek((event.target as HTMLInputElement).value)}></label>
      <datalist id="${this.keys}-names">${names.slice(0, 1200).map((name) => html`<option value=${name}></option>`)}</datalist>
    </div>
    ${this.sought ? html`<p class="keys" role="status">“${brief(this.sought)}”: ${this.counted()} A solid outline with an arrow: pushes to it. A dashed one: holds pictures of it, and does not push to it for sure.</p>` : nothing}`;
  }

  private counted(): string {
    return this.planes.map((plane, k) => {
      const pushing = plane.cells.filter((cell) => pushes(cell, this.sought)).length;
      const holding = plane.cells.filter((cell) => holds(cell, this.sought)).length;
      const whose = this.planes.length > 1 ? `In ${networkName(this.book, this.entry!.panes[k]!.network)} ` : "";
      return `${whose}${plural(pushing, "cell")} of ${number(plane.cells.length)} push${pushing === 1 ? "es" : ""} to it, ${number(holding)} ${holding === 1 ? "has" : "have"} it among the commonest labels.`;
    }).join(" ");
  }

  private pane(entry: AtlasEntry, k: number): TemplateResult {
    const pane = entry.panes[k]!;
    const name = networkName(this.book, pane.network);
    const level = this.planes[k]?.level ?? pane.levels[0]!;
    return html`<figure class="pane">
      <div class="atlas-frame"><canvas class="plane" tabindex="0" role="application" aria-roledescription="atlas" aria-label="Atlas of ${brief(pane.site)} of ${name}, ${level.side} x ${level.side} cells" aria-describedby="${this.keys}"
        @pointermove=${(event: PointerEvent) => this.point(k, event)} @pointerleave=${() => { this.hovered = null; }}></canvas>
        <div class="atlas-words" aria-hidden="true"></div></div>
      <figcaption><span>${entry.panes.length > 1 ? html`<b><bdi>${name}</bdi></b> ` : nothing}${captionOf(level)}</span></figcaption></figure>`;
  }

  /** What is in the cell that is pointed at or was chosen; of two networks, in both. */
  private said(entry: AtlasEntry): TemplateResult {
    const here = this.hovered ?? this.chosen;
    return html`<aside class="followed cells ${here ? "" : "idle"}" tabindex="0" aria-live="polite" aria-label="The cell that is pointed at">
      ${here ? entry.panes.map((pane, k) => {
        const cell = this.planes[k]?.cell(here.cell.row, here.cell.column) ?? null;
        return html`<div class="cell-said"><canvas class="cell-picture" data-pane=${k} width="96" height="96" aria-hidden="true" hidden></canvas>
          <div>${entry.panes.length > 1 ? html`<p><b><bdi>${networkName(this.book, pane.network)}</bdi></b></p>` : nothing}
          ${cell ? this.words(cell, pane.network) : html`<p class="none">No cell of this network is here.</p>`}</div></div>`;
      }) : html`<p class="none">Point at a cell, or choose one, to read what is in it.</p>`}
    </aside>`;
  }

  private words(cell: AtlasCell, network: number): TemplateResult {
    return html`<p><b>${plural(cell.n, "activation")}</b> <small>row ${cell.row}, column ${cell.column}${cell.drawn ? "" : ", not drawn yet"}</small></p>
      <p>Labels: <bdi>${labelsOf(cell)}</bdi>.</p>
      ${this.effects("Pushes to", pushed(cell), network)}
      ${this.effects("Measured, and not surely above zero:", cell.effects.filter((effect) => !pushed(cell).includes(effect)), network)}
      ${cell.effects.length ? nothing : html`<p class="none">No class is known that it surely pushes to.</p>`}`;
  }

  private effects(what: string, effects: [string, Quantity][], network: number): TemplateResult | typeof nothing {
    const first = effects[0]?.[1];
    if (!first) return nothing;
    const { unit, n } = shown(first);
    return html`<p>${what} ${effects.map(([name, q], i) => {
      return html`${i ? ", " : ""}${classLink(this.book, network, name)} <span class="ci">${effectOf(q)}</span>`;
    })} <small><bdi>${unit}</bdi>, ${n}</small></p>`;
  }

  private list(entry: AtlasEntry): TemplateResult {
    const plane = this.planes[this.listing];
    const cells = sorted(plane?.cells ?? [], this.sought);
    const item = (cell: AtlasCell): TemplateResult => {
      const now = this.chosen?.pane === this.listing && this.chosen.cell === cell;
      return html`<tr><th scope="row"><button type="button" class="pick" data-item aria-pressed=${now} @click=${() => this.visit(this.listing, cell)} @focus=${() => this.visit(this.listing, cell)}>${cell.row}, ${cell.column}</button></th>
        <td class="num">${number(cell.n)}</td><td><bdi>${labelsOf(cell)}</bdi></td><td><bdi>${pushesOf(cell) || html`<span class="none">none surely</span>`}</bdi></td></tr>`;
    };
    return html`<details class="listed"><summary>The cells in words, ${this.sought ? `those of “${brief(this.sought)}”` : "the fullest first"}</summary>
      ${entry.panes.length > 1 ? html`<div role="group" aria-label="Which network's cells are listed">${entry.panes.map((pane, k) => html`<button type="button" class="chip" aria-pressed=${k === this.listing} @click=${() => { this.listing = k; this.most = LISTED; }}>${networkName(this.book, pane.network)}</button>`)}</div>` : nothing}
      <div class="scroll" tabindex="0" role="region" aria-label="Cells in words"><table class="dense">
        <thead><tr><th scope="col">Row, column</th><th scope="col">Activations</th><th scope="col">Commonest labels</th><th scope="col">Pushes to, by how much of the logit</th></tr></thead>
        <tbody @keydown=${rove}>${cells.slice(0, this.most).map(item)}</tbody></table></div>
      ${cells.length > this.most ? html`<button type="button" class="chip" @click=${() => { this.most += LISTED; }}>Show ${Math.min(LISTED, cells.length - this.most)} more of ${number(cells.length - this.most)}</button>` : nothing}
      ${cells.length ? nothing : html`<p class="none">There is no such cell at this zoom.</p>`}</details>`;
  }
}
