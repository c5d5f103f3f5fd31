// <mg-features search="dog" site="blocks.5" sort="selectivity" only="picture" as="list">: every feature of the page, to search,
// sort and look through; only what is in sight is drawn.
//
// The attributes say what is asked for at first, and may all be left out.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { amend, to } from "../../router";
import { brief, number, plural } from "../../words";
import { PageElement } from "../shared/element";
import { ends, featureName, networkKey, networkOf, networkTag, selectiveFor } from "../shared/naming";
import { NO_PICTURE, picture } from "../shared/picture";
import { find } from "../shared/search";
import { Windowed } from "../shared/windowing";

/** What is asked for: as an address has it. */
export interface Wanted {
  q: string;
  site: string;
  sort: string;
  has: string;
  as: string;
}

const NOTHING: Wanted = { q: "", site: "", sort: "", has: "", as: "" };

export function wanted(query: URLSearchParams): Wanted {
  const one = (key: string) => query.get(key) ?? "";
  return { q: one("q"), site: one("site"), sort: one("sort"), has: one("has"), as: one("as") };
}

/** What attributes ask for, by the names that authors use. */
function written(element: HTMLElement): Wanted {
  const one = (name: string) => element.getAttribute(name) ?? "";
  return { q: one("search"), site: one("site"), sort: one("sort"), has: one("only"), as: one("as") === "list" ? "rows" : "" };
}

@customElement("mg-features")
export class Features extends PageElement {
  /** Whether the address says what is asked for, and it fills the window. */
  @property({ type: Boolean }) whole = false;
  @property({ attribute: false }) wanted: Wanted | null = null;
  @state() private asked: Wanted = NOTHING;
  private order: number[] = [];
  private drawn = "";
  private pictured = true;
  private texts: string[] | null = null;
  private readonly list = new Windowed(this, () => (this.rows ? { row: 2.5, least: 0 } : { row: 9.6, least: 7 }));

  override connectedCallback(): void {
    super.connectedCallback();
    if (!this.wanted) this.asked = written(this);
  }

  /** Whether as a list: if asked for, and where there is no picture to look at. */
  private get rows(): boolean {
    return this.asked.as ? this.asked.as === "rows" : !this.pictured;
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("wanted") && this.wanted) this.asked = this.wanted;
    const key = JSON.stringify(this.asked);
    if (key === this.drawn) return;
    this.drawn = key;
    this.order = this.sorted();
    const { picture: pictures, site } = this.book.index.features;
    this.pictured = pictures.some((shot, i) => shot !== null && (!this.asked.site || this.siteKey(site[i]!) === this.asked.site));
    this.list.count = this.order.length;
    this.list.restart();
  }

  /** The features asked for, in the order asked for. */
  private sorted(): number[] {
    const { q, site, sort, has } = this.asked;
    const { features } = this.book.index;
    const found = find(this.searched(), q);
    let order = found ?? features.key.map((_, i) => i);
    if (site) order = order.filter((i) => this.siteKey(features.site[i]!) === site);
    if (has.includes("picture")) order = order.filter((i) => features.picture[i] !== null);
    if (has.includes("label")) order = order.filter((i) => features.label[i] !== null);
    if (sort === "name" || (!sort && found)) return sort ? order.sort((a, b) => a - b) : order;
    const up = sort.startsWith("-");
    const scores = features.scores[up ? sort.slice(1) : sort] ?? null;
    if (scores) return order.sort((a, b) => rank(scores[a], up) - rank(scores[b], up) || a - b);
    const selectivity = features.scores["selectivity"];
    const made = features.scores["picture over best example"];
    const known = (i: number) => (features.picture[i] === null ? 0 : 4) + (made?.[i] ? 4 : 0) + (features.label[i] === null ? 0 : 2) + (selectivity?.[i] ?? 0);
    return order.sort((a, b) => known(b) - known(a) || a - b);
  }

  private searched(): string[] {
    const { features } = this.book.index;
    this.texts ??= features.key.map((key, i) => `${key} ${features.label[i] ?? ""} ${selectiveFor(this.book, i)}`);
    return this.texts;
  }

  private siteKey(n: number): string {
    const { name, network } = this.book.index.sites;
    return `${network[n] ? `${network[n]}~` : ""}${name[n]}`;
  }

  private ask(change: Partial<Wanted>): void {
    this.asked = { ...this.asked, ...change };
    if (this.whole) amend({ ...this.asked });
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const all = this.book.index.features.key.length;
    return html`${this.controls()}
      <p class="count" role="status">${this.order.length === all ? plural(all, "feature") : `${number(this.order.length)} of ${plural(all, "feature")}`}${this.order.length ? "" : ": nothing fits what was asked for"}</p>
      ${networkKey(this.book)}
      <div class="window ${this.rows ? "rows" : "tiles"} ${this.pictured ? "" : "unpictured"} ${this.whole ? "whole" : ""}" style=${this.list.frameStyle} @scroll=${{ handleEvent: this.list.look, passive: true }} @keydown=${this.list.key} @focusin=${this.list.focused}>
        <ul role="list" aria-label="Features">${repeat(this.list.items, (at) => this.order[at], (at) => this.item(at))}</ul>
      </div>
      ${this.list.printed("feature")}
      ${this.whole ? nothing : html`<p class="more-of"><a href=${to("features", "", { ...this.asked })}>All of them on a page of their own</a></p>`}`;
  }

  private controls(): TemplateResult {
    const { sites, features } = this.book.index;
    const { q, site, sort, has } = this.asked;
    const many = this.book.index.networks.length > 1;
    const scores = Object.keys(features.scores);
    const set = (key: keyof Wanted) => (event: Event) => this.ask({ [key]: (event.target as HTMLInputElement).value });
    const only = (what: string) => (event: Event) => {
      const rest = has.split(",").filter((one) => one && one !== what);
      this.ask({ has: [...rest, ...((event.target as HTMLInputElement).checked ? [what] : [])].join(",") });
    };
    const option = (value: string, text: string, now: string) => html`<option value=${value} .selected=${value === now}>${text}</option>`;
    const base = sort.replace(/^-/, "");
    return html`<form class="finder" role="search" aria-label="Find features" @submit=${(event: Event) => event.preventDefault()}>
      <label class="seek">Search <input type="search" name="q" .value=${q} placeholder="unit, label or class" autocomplete="off" spellcheck="false" @input=${set("q")}></label>
      <label>Site <select name="site" @change=${set("site")}>${option("", "every site", site)}
        ${sites.name.map((name, n) => option(this.siteKey(n), brief(name) + (many ? ` (${brief(this.book.index.networks[sites.network[n]!]?.name ?? "")})` : ""), site))}</select></label>
      <label>Order <select name="sort" @change=${set("sort")}>${option("", q ? "best match" : "best shown first", base)}${option("name", "as in the network", base)}
        ${scores.map((name) => option(name, brief(name), base))}</select></label>
      ${scores.includes(base) ? html`<button type="button" @click=${() => this.ask({ sort: sort === base ? `-${base}` : base })}>${sort === base ? "largest first" : "smallest first"}</button>` : nothing}
      <fieldset><legend>Only with</legend>
        <label><input type="checkbox" ?checked=${has.includes("picture")} @change=${only("picture")}> a picture</label>
        <label><input type="checkbox" ?checked=${has.includes("label")} @change=${only("label")}> a label</label></fieldset>
      <button type="button" aria-pressed=${this.rows} @click=${() => this.ask({ as: this.rows === this.pictured ? "" : this.rows ? "tiles" : "rows" })}>As a list</button>
    </form>`;
  }

  private item(at: number): TemplateResult {
    const i = this.order[at]!;
    const { key, label, picture: pictures, scores } = this.book.index.features;
    const sort = this.asked.sort.replace(/^-/, "");
    const score = scores[sort]?.[i];
    const selective = selectiveFor(this.book, i);
    const told = label[i] ?? (selective ? `for ${selective}` : "");
    return html`<li style=${this.list.place(at)} aria-setsize=${this.order.length} aria-posinset=${at + 1}>
      <a href=${to("unit", key[i]!)} data-i=${at} tabindex=${at === this.list.current ? 0 : -1}>
        <span class="shot">${picture(pictures[i]!, "", this.rows ? nothing : NO_PICTURE)}</span>
        <span class="told"><span>${ends(featureName(this.book, i))}${networkTag(this.book, networkOf(this.book, i))}</span>
        ${scores[sort] ? html`<small>${brief(sort)} ${number(score)}</small>` : nothing}
        ${told ? html`<small class=${label[i] ? "named" : ""}><bdi>${brief(told)}</bdi></small>` : nothing}</span></a></li>`;
  }
}

/** For sorting: the largest first, or the smallest; what has no number comes last. */
function rank(value: number | null | undefined, up: boolean): number {
  return value === null || value === undefined ? Infinity : up ? value : -value;
}
