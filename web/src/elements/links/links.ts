// <mg-links at="blocks.5:12">: what drives what, around one unit or class. Units stand by site from left to right, outputs at
// the right; choosing a node moves the focus to it. The table below says the same.
//
// at: the key of the unit or class in focus at first; without it, the output that most is known of.

import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { styleMap } from "lit/directives/style-map.js";
import type { LinkRow } from "../../book/explored";
import type { Quantity, Reference } from "../../book/format";
import { amend, to } from "../../router";
import { brief, number, plural, shown, visible } from "../../words";
import { PageElement } from "../shared/element";
import { byItself } from "../shared/itself";
import { around, drawn, raises, strength, type Drawn, type Edge, type Place } from "./links_layout";
import { keyLink, unprefixed } from "../shared/naming";
import { near } from "../shared/near";
import { picture } from "../shared/picture";
import { from, quantity } from "../shared/quantity";
import { unique } from "../shared/unique";

const EDGE = 4; // pixels beside what is in focus
const narrow = window.matchMedia("(max-width: 40rem)");

@customElement("mg-links")
export class LinksElement extends PageElement {
  @property() at = "";
  /** Whether what is in focus stands in the address. */
  @property({ type: Boolean }) addressed = false;
  @state() private rows: LinkRow[] | null = null;
  @state() private pointed = "";
  private units = new Set<string>();
  private outputs = new Set<string>();

  protected override firstUpdated(): void {
    void this.attempt(this.load());
  }

  private async load(): Promise<void> {
    await near(this);
    const rows = (await this.book.items("links", 0, this.book.index.links.n)) as LinkRow[];
    this.units = new Set(rows.map(([from]) => from));
    this.outputs = new Set(rows.map(([, to]) => to));
    this.rows = rows;
  }

  /** What is in focus: what was asked for, or the output that most was measured of. */
  private focused(rows: LinkRow[]): string {
    if (this.at) return this.at;
    const measured = new Map<string, number>();
    for (const row of rows) measured.set(row[1], (measured.get(row[1]) ?? 0) + (row[3] ? 1 : 0.01));
    return [...measured].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
  }

  private go(key: string): void {
    this.at = key;
    if (this.addressed) amend({ at: key });
  }

  private networkOf(key: string): number {
    const found = /^(\d+)~/.exec(key);
    return found && Number(found[1]) < this.book.index.networks.length ? Number(found[1]) : 0;
  }

  private nameOf(key: string): string {
    return brief(unprefixed(key, this.networkOf(key)));
  }

  private shownAt = "";
  private readonly names = unique();

  protected override updated(): void {
    // Where the graph is wider than the window, what is in focus is in sight.
    const region = this.querySelector<HTMLElement>(".links-graph");
    const node = region?.querySelector<HTMLElement>(".node[aria-current=true]");
    const key = node?.getAttribute("aria-label") ?? "";
    if (!region || !node || key === this.shownAt) return;
    this.shownAt = key;
    // An output stands at the right, and what drives it to its left: as much of that as there is room for.
    const slack = node.classList.contains("output") ? region.clientWidth - node.offsetWidth - EDGE : EDGE;
    region.scrollLeft = node.offsetLeft - slack;
  }

  private siteOf(unit: string): string {
    return unit.replace(/:\d+$/, "");
  }

  /** Sites by their keys, in the order of the network as far as the page knows it. */
  private ordered(rows: LinkRow[]): string[] {
    const { name, network } = this.book.index.sites;
    const known = name.map((one, k) => `${network[k] ? `${network[k]}~` : ""}${one}`);
    return [...new Set([...known, ...rows.map(([from]) => this.siteOf(from))])];
  }

  protected override render() {
    if (this.failed) return this.trouble();
    if (!this.rows) return nothing;
    if (!this.rows.length) return html`<p class="none">No run of this page measured what drives what.</p>`;
    const at = this.focused(this.rows);
    if (!this.units.has(at) && !this.outputs.has(at)) return html`${this.chooser(at)}<p class="missing" role="status">Nothing is known of what “${brief(at)}” drives, or what drives it. Known are:</p>
      <p>${[...this.outputs, ...this.units].slice(0, 24).map((key) => html`<button type="button" class="chip" @click=${() => this.go(key)}><bdi>${this.nameOf(key)}</bdi></button> `)}</p>`;
    const { rows, left } = around(this.rows, at);
    const sites = this.ordered(rows);
    const graph = drawn(rows, (unit) => sites.indexOf(this.siteOf(unit)), sites.length, narrow.matches);
    return html`${this.chooser(at)}
      <ul class="edge-key" aria-label="How edges are drawn">
        <li>${sample("confirmed", true)}confirmed by ablation</li><li>${sample("unconfirmed", true)}measured, not confirmed</li><li>${sample("unmeasured", true)}attribution alone, not measured</li>
        <li>${sample("confirmed", true)}raises the output's logit</li><li>${sample("confirmed", false)}lowers it</li><li><span class="band"></span>pale band: attribution; line: ablation; both wider where larger</li></ul>
      <div class="scroll links-graph" tabindex="0" role="region" aria-label="What drives what around ${this.nameOf(at)}">
        <div class="graph" style=${styleMap({ width: `${graph.width}px`, height: `${graph.height}px`, "--wide": String(graph.width) })}>
          ${edges(graph, this.pointed || this.node(at))}
          ${graph.columns.map(({ rank, x }) => html`<span class="column" style=${styleMap({ left: `${x - graph.node / 2}px`, width: `${graph.node}px` })}><bdi><code>${this.nameOf(sites[rank]!)}</code></bdi></span>`)}
          ${repeat(graph.nodes, ({ key }) => key, (place) => this.place(place, at, graph.node))}</div></div>
      <p class="left" role="status">${plural(rows.length, "edge")} around <bdi>${this.nameOf(at)}</bdi>${left ? `: the strongest; ${number(left)} more are left out, and all are in the table of drives` : ""}.</p>
      ${this.table(rows, at)}${byItself(this.addressed, "links", "", { at })}`;
  }

  private node(key: string): string {
    return `${this.outputs.has(key) ? "o" : "u"} ${key}`;
  }

  private chooser(at: string): TemplateResult {
    const known = [...this.outputs, ...this.units];
    const choose = (event: Event): void => {
      const value = (event.target as HTMLInputElement).value.trim();
      if (value) this.go(value);
    };
    return html`<label class="search">A class or a unit
      <input type="search" list=${this.names} .value=${at} @change=${choose}></label>
      <datalist id=${this.names}>${known.slice(0, 1500).map((key) => html`<option value=${key}></option>`)}</datalist>`;
  }

  private place({ key: node, x, y, height }: Place, at: string, width: number): TemplateResult {
    const key = node.slice(2);
    const output = node.startsWith("o ");
    const i = output ? this.book.class(key) : this.book.feature(key);
    const { features, classes } = this.book.index;
    const shot = i < 0 ? null : output ? classes.picture[i]! : features.picture[i]!;
    const label = i < 0 || output ? null : features.label[i];
    const focused = this.node(at) === node;
    return html`<button type="button" class="node ${output ? "output" : ""}" aria-current=${focused} aria-label="${output ? "Output" : "Unit"} ${this.nameOf(key)}${focused ? ", in focus" : ""}"
      style=${styleMap({ left: `${x - width / 2}px`, top: `${y - height / 2}px`, width: `${width}px`, height: `${height}px` })}
      @click=${() => this.go(key)} @pointerenter=${() => { this.pointed = node; }} @pointerleave=${() => { this.pointed = ""; }} @focus=${() => { this.pointed = node; }} @blur=${() => { this.pointed = ""; }}>
      ${picture(shot, "")}<span><bdi>${output ? this.nameOf(key) : (/:\d+$/.exec(key)?.[0] ?? this.nameOf(key))}</bdi>${label ? html`<small><bdi>${brief(label)}</bdi></small>` : nothing}</span></button>`;
  }

  private table(rows: LinkRow[], at: string): TemplateResult {
    // A unit of measurement that all of a column share is said once.
    const units = [3, 4, 2].map((column) => {
      const every = new Set(rows.flatMap((row) => (row[column] as Quantity | null)?.unit ?? []));
      return every.size === 1 ? [...every][0]! : "";
    });
    const cell = (q: Quantity | null, unit: string, table: Reference | null): TemplateResult => {
      if (!q || !unit) return quantity(q, table);
      const { value, interval, n } = shown(q);
      return html`<span class="ci">${from(html`<b>${value}</b> ${interval}`, table)}</span> <small class="ci">${n}</small>`;
    };
    const head = ["Ablation, measured", "Of a random unit", "Attribution"];
    return html`<div class="scroll" tabindex="0" role="region" aria-label="The same edges as a table"><table class="links-table">
      <thead><tr><th scope="col">Unit</th><th scope="col">does what</th><th scope="col">Output</th>${head.map((name, k) => html`<th scope="col">${name}${units[k] ? html`<br><small>${visible(units[k], 200)}</small>` : nothing}</th>`)}<th scope="col">Confirmed</th></tr></thead>
      <tbody>${rows.map((row) => {
        const [unit, output, attribution, ablation, control, confirmed, table] = row;
        return html`<tr class=${unit === at || output === at ? "" : "aside"}><th scope="row">${keyLink(this.book, unit)}</th><td>${words(row)}</td><td>${this.outputLink(output)}</td>
          <td>${cell(ablation, units[0]!, table)}</td><td>${cell(control, units[1]!, table)}</td><td>${cell(attribution, units[2]!, table)}</td>
          <td>${confirmed === null ? html`<span class="none">not measured</span>` : confirmed ? html`<span class="tag yes">confirmed</span>` : html`<span class="tag no">not confirmed</span>`}</td></tr>`;
      })}</tbody></table></div>`;
  }

  private outputLink(key: string): TemplateResult {
    const name = html`<bdi>${this.nameOf(key)}</bdi>`;
    return this.book.class(key) >= 0 ? html`<a href=${to("class", key)}>${name}</a>` : name;
  }
}

/** What a unit does to an output, as surely as it is known. */
function words(row: LinkRow): string {
  const does = raises(row);
  const [, , attribution, ablation] = row;
  // An ablation whose interval excludes zero on the side that attribution did not say.
  if (ablation && (attribution.value > 0 ? (ablation.low ?? 0) > 0 : (ablation.high ?? 0) < 0))
    return `${ablation.value < 0 ? "raises" : "lowers"}, as measured; attribution says the opposite`;
  return row[5] ? (does ? "raises" : "lowers") : does ? "may raise" : "may lower";
}

function kind(row: LinkRow): string {
  return row[5] === null ? "unmeasured" : row[5] ? "confirmed" : "unconfirmed";
}

/** Edges from edge to edge of their nodes; those of `lit` stand out. */
function edges(graph: Drawn, lit: string): TemplateResult {
  const most = Math.max(...graph.edges.map(({ row }) => strength(row)), 1e-12);
  const given = Math.max(...graph.edges.map(({ row }) => Math.abs(row[2].value)), 1e-12);
  const one = ({ row, points }: Edge): SVGTemplateResult => {
    const far = lit !== `u ${row[0]}` && lit !== `o ${row[1]}`;
    const path = curve(points);
    const end = points[points.length - 1]!;
    return svg`<g class="edge ${kind(row)} ${far ? "far" : ""}">
      <path class="band" d=${path} stroke-width=${2 + 9 * (Math.abs(row[2].value) / given)}></path>
      <path class="line" d=${path} stroke-width=${row[3] ? 1 + 3.5 * (strength(row) / most) : 1.2}></path>
      ${raises(row) ? svg`<path class="head" d="M${end.x} ${end.y}l-9 -4v8z"></path>` : svg`<path class="bar" d="M${end.x - 3} ${end.y - 3.5}v7"></path>`}</g>`;
  };
  return html`<svg width=${graph.width} height=${graph.height} aria-hidden="true" focusable="false">${graph.edges.map(one)}</svg>`;
}

/** A smooth line through points that runs level where it begins and ends. */
function curve(points: { x: number; y: number }[]): string {
  let path = `M${points[0]!.x} ${points[0]!.y}`;
  for (let k = 1; k < points.length; k++) {
    const [a, b] = [points[k - 1]!, points[k]!];
    const middle = (a.x + b.x) / 2;
    path += `C${middle} ${a.y} ${middle} ${b.y} ${b.x} ${b.y}`;
  }
  return path;
}

function sample(of: string, up: boolean): TemplateResult {
  return html`<svg class="edge-sample" width="42" height="14" aria-hidden="true" focusable="false"><g class="edge ${of}"><path class="line" d="M2 7H34" stroke-width="2.5"></path>
    ${up ? svg`<path class="head" d="M40 7l-9 -5v10z"></path>` : svg`<path class="bar" d="M36 1v12"></path>`}</g></svg>`;
}
