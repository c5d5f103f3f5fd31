// <mg-classes>: every class of the page, the worst recalled first, or by name.

import { html, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { amend, to } from "../../router";
import { number, plural, spaced } from "../../words";
import { PageElement } from "../shared/element";
import { networkKey, networkTag } from "../shared/naming";
import { picture } from "../shared/picture";
import { find } from "../shared/search";
import { Windowed } from "../shared/windowing";

const ORDERS: Record<string, string> = { "": "as in the network", name: "by name", recall: "lowest recall first", n: "most examples first" };

@customElement("mg-classes")
export class Classes extends PageElement {
  @property({ type: Boolean }) whole = false;
  @property({ attribute: false }) wanted: { q: string; sort: string } | null = null;
  @state() private q = "";
  @state() private sort = "";
  private order: number[] = [];
  private drawn: string | null = null;
  private readonly list = new Windowed(this, () => ({ row: 4.2, least: 15 }));

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("wanted") && this.wanted) ({ q: this.q, sort: this.sort } = this.wanted);
    const key = `${this.sort}\n${this.q}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.order = this.sorted();
    this.list.count = this.order.length;
    this.list.restart();
  }

  private sorted(): number[] {
    const { name, recall, n } = this.book.index.classes;
    const found = find(name, this.q);
    const order = found ?? name.map((_, i) => i);
    if (this.sort === "name") return order.sort((a, b) => name[a]!.localeCompare(name[b]!));
    if (this.sort === "recall") return order.sort((a, b) => (recall[a] ?? Infinity) - (recall[b] ?? Infinity) || a - b);
    if (this.sort === "n") return order.sort((a, b) => (n[b] ?? -1) - (n[a] ?? -1) || a - b);
    return order;
  }

  private ask(change: { q?: string; sort?: string }): void {
    if (change.q !== undefined) this.q = change.q;
    if (change.sort !== undefined) this.sort = change.sort;
    if (this.whole) amend({ q: this.q, sort: this.sort });
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const all = this.book.index.classes.name.length;
    const value = (event: Event) => (event.target as HTMLInputElement).value;
    return html`<form class="finder" role="search" aria-label="Find classes" @submit=${(event: Event) => event.preventDefault()}>
        <label class="seek">Search <input type="search" name="q" .value=${this.q} autocomplete="off" spellcheck="false" @input=${(event: Event) => this.ask({ q: value(event) })}></label>
        <label>Order <select name="sort" @change=${(event: Event) => this.ask({ sort: value(event) })}>
          ${Object.entries(ORDERS).map(([key, text]) => html`<option value=${key} .selected=${key === this.sort}>${text}</option>`)}</select></label></form>
      <p class="count" role="status">${this.order.length === all ? plural(all, "class", "classes") : `${number(this.order.length)} of ${plural(all, "class", "classes")}`}</p>
      ${networkKey(this.book)}
      <div class="window cells ${this.whole ? "whole" : ""}" style=${this.list.frameStyle} @scroll=${{ handleEvent: this.list.look, passive: true }} @keydown=${this.list.key} @focusin=${this.list.focused}>
        <ul role="list" aria-label="Classes">${repeat(this.list.items, (at) => this.order[at], (at) => this.item(at))}</ul></div>
      ${this.list.printed("class", "classes")}`;
  }

  private item(at: number): TemplateResult {
    const i = this.order[at]!;
    const { key, name, network, n, recall, picture: pictures } = this.book.index.classes;
    const told = [recall[i] === null ? "" : `recall ${number(recall[i], 2)}`, n[i] === null ? "" : plural(n[i]!, "example")].filter(Boolean);
    return html`<li style=${this.list.place(at)} aria-setsize=${this.order.length} aria-posinset=${at + 1}>
      <a href=${to("class", key[i]!)} data-i=${at} tabindex=${at === this.list.current ? 0 : -1}>
        <span class="shot">${picture(pictures[i]!, "")}</span>
        <span class="told"><span><bdi>${spaced(name[i]!)}</bdi>${networkTag(this.book, network[i]!)}</span><small>${told.join(", ")}</small></span></a></li>`;
  }
}
