// <mg-table of="r0-units">: a table behind the page's numbers, to sort, search and take away; a row of it in full.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Book } from "../../book/book";
import type { Column, Quantity, TableEntry } from "../../book/format";
import { amend, to } from "../../router";
import { brief, number, plural, visible } from "../../words";
import { csv, download } from "../shared/csv";
import { PageElement } from "../shared/element";
import { keyLink } from "../shared/naming";
import { picture } from "../shared/picture";
import { quantity } from "../shared/quantity";
import { find } from "../shared/search";
import { Windowed } from "../shared/windowing";

type Row = unknown[];

/** Of each kind of column its least width in rem, and its share of what is left. */
const WIDTHS: Record<Column["kind"], [number, number]> = {
  text: [10, 2], number: [6.5, 1], quantity: [15, 2], feature: [10, 1.5], class: [9, 1.5], picture: [6, 0.5],
};
const ROW_NUMBER = 3.6;

@customElement("mg-table")
export class Table extends PageElement {
  @property() of = "";
  /** The key of a row to be shown in full. */
  @property() row = "";
  @property({ attribute: false }) wanted = { q: "", sort: "" };
  @state() private q = "";
  @state() private sort = "";
  @state() private rows: Row[] | null = null;
  private keys: string[] = [];
  private order: number[] = [];
  private loaded = "";
  private drawn = "";
  private marked = -1;
  private readonly list = new Windowed(this, () => ({ row: 3.4, least: 0 }));

  private get entry(): TableEntry {
    return this.book.table(this.of)!;
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("wanted")) ({ q: this.q, sort: this.sort } = this.wanted);
    if (this.loaded !== this.of) {
      this.loaded = this.of;
      this.rows = null;
      void this.load(this.of);
    }
    if (!this.rows) return;
    const key = `${this.of}\n${this.sort}\n${this.q}`;
    if (key !== this.drawn) {
      this.drawn = key;
      this.order = this.sorted(this.rows);
      this.list.count = this.order.length;
      this.list.restart();
      this.marked = -1;
    }
    const at = this.row ? this.keys.indexOf(this.row) : -1;
    if (at !== this.marked) {
      this.marked = at;
      const place = this.order.indexOf(at);
      if (place >= 0) void this.updateComplete.then(() => this.list.go(place, false));
    }
  }

  private async load(of: string): Promise<void> {
    const { n } = this.entry;
    const found = await this.attempt(Promise.all([this.book.items(`table:${of}`, 0, n), this.book.items(`keys:${of}`, 0, n)]));
    if (!found || of !== this.of) return;
    this.keys = found[1] as string[];
    this.rows = found[0] as Row[];
  }

  private sorted(rows: Row[]): number[] {
    const found = find(this.q ? rows.map((row, i) => `${this.keys[i]} ${row.map((cell) => (typeof cell === "string" ? cell : "")).join(" ")}`) : [], this.q);
    const order = found ?? rows.map((_, i) => i);
    const down = this.sort.startsWith("-");
    const column = this.entry.columns.findIndex(({ key }) => key === this.sort.replace(/^-/, ""));
    if (column < 0) return order;
    return order.sort((a, b) => compared(rows[a]![column], rows[b]![column], down) || a - b);
  }

  private ask(change: { q?: string; sort?: string }): void {
    if (change.q !== undefined) this.q = change.q;
    if (change.sort !== undefined) this.sort = change.sort;
    amend({ q: this.q, sort: this.sort });
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const { rows, entry } = this;
    if (!rows) return html`<p class="none" aria-busy="true">Decoding…</p>`;
    const widths = entry.columns.map(({ kind }) => WIDTHS[kind]);
    const grid = `grid-template-columns:${ROW_NUMBER}rem ${widths.map(([least, share]) => `minmax(${least}rem,${share}fr)`).join(" ")}`;
    const least = `min-width:${widths.reduce((sum, [width]) => sum + width, ROW_NUMBER + 0.5)}rem`;
    const shown = this.order.length === rows.length ? plural(rows.length, "row") : `${number(this.order.length)} of ${plural(rows.length, "row")}`;
    return html`${this.whole(rows)}
      <form class="finder" role="search" aria-label="Find rows" @submit=${(event: Event) => event.preventDefault()}>
        <label class="seek">Search <input type="search" name="q" .value=${this.q} autocomplete="off" spellcheck="false" @input=${(event: Event) => this.ask({ q: (event.target as HTMLInputElement).value })}></label>
        <button type="button" @click=${this.save}>Download as CSV</button></form>
      <p class="count" role="status">${shown}</p>
      <div class="window sheet" style=${this.list.frameStyle} @scroll=${{ handleEvent: this.list.look, passive: true }} @keydown=${this.list.key} @focusin=${this.list.focused}>
        <div role="table" style=${least} aria-label=${brief(entry.title)} aria-rowcount=${this.order.length + 1}>
          <div role="rowgroup" class="head"><div role="row" aria-rowindex="1" style=${grid}><div role="columnheader" class="go">Row</div>${entry.columns.map((column) => this.head(column))}</div></div>
          <div role="rowgroup" class="body">${repeat(this.list.items, (at) => this.order[at], (at) => this.line(at, grid))}</div>
        </div></div>
      ${this.list.printed("row")}`;
  }

  private head(column: Column): TemplateResult {
    const now = this.sort.replace(/^-/, "") === column.key ? (this.sort.startsWith("-") ? "descending" : "ascending") : "none";
    const first = column.kind === "number" || column.kind === "quantity" ? `-${column.key}` : column.key;
    const other = first === column.key ? `-${column.key}` : column.key;
    const title = brief(column.title) + (column.unit ? ` (${brief(column.unit)})` : "");
    return html`<div role="columnheader" aria-sort=${now}><button type="button" @click=${() => this.ask({ sort: this.sort === first ? other : first })}>${title}
      <span class="arrow" aria-hidden="true">${now === "ascending" ? "▲" : now === "descending" ? "▼" : "↕"}</span></button></div>`;
  }

  private line(at: number, grid: string): TemplateResult {
    const i = this.order[at]!;
    const key = this.keys[i]!;
    const mine = i === this.marked;
    const address = to("table", this.of, { row: key, sort: this.sort, q: this.q });
    const row = this.rows![i]!;
    return html`<div role="row" aria-rowindex=${at + 2} aria-current=${mine ? "true" : nothing} class=${mine ? "mine" : ""} style="${this.list.place(at)};${grid}">
      <div role="cell" class="go"><a href=${address} data-i=${at} tabindex=${at === this.list.current ? 0 : -1} aria-label="Row ${at + 1} in full: ${brief(key)}" title="This row in full">${number(at + 1)}</a></div>
      ${this.entry.columns.map((column, k) => html`<div role=${k ? "cell" : "rowheader"} class=${column.kind}><div>${cell(this.book, column, row[k])}</div></div>`)}</div>`;
  }

  /** Within the rows, the tabulator reaches the links of the present one only. */
  protected override updated(): void {
    for (const row of this.querySelectorAll(".body > [role=row]")) {
      const mine = row.querySelector<HTMLElement>("[data-i]")?.dataset.i === String(this.list.current);
      for (const link of row.querySelectorAll<HTMLElement>("a:not([data-i])")) link.tabIndex = mine ? 0 : -1;
    }
  }

  /** The row that an address names, every cell in full. */
  private whole(rows: Row[]): TemplateResult | typeof nothing {
    if (!this.row) return nothing;
    if (this.marked < 0) return html`<p class="missing">This table has no row “${brief(this.row)}”.</p>`;
    return html`<dl class="pairs rowcard" aria-label="The row in full">${this.entry.columns.map((column, k) => html`<div><dt>${brief(column.title)}</dt>
      <dd>${cell(this.book, column, rows[this.marked]![k])}</dd></div>`)}</dl>`;
  }

  private readonly save = (): void => {
    const { columns, id } = this.entry;
    const head = columns.flatMap(({ key, kind }) => (kind === "quantity" ? [key, `${key}_low`, `${key}_high`, `${key}_n`, `${key}_unit`] : [key]));
    const lines = this.order.map((i) => columns.flatMap(({ kind }, k) => {
      const value = this.rows![i]![k];
      if (kind !== "quantity") return [value];
      const q = value as Quantity | null;
      return q ? [q.value, q.low, q.high, q.n, q.unit] : [null, null, null, null, null];
    }));
    download(`${id}.csv`, csv(head, lines));
  };
}

/** What has no value comes last, whichever way. */
function compared(a: unknown, b: unknown, down: boolean): number {
  const [x, y] = [sortable(a), sortable(b)];
  if (x === null || y === null) return (x === null ? 1 : 0) - (y === null ? 1 : 0);
  const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
  return down ? -order : order;
}

function sortable(value: unknown): number | string | null {
  if (value === null || value === undefined || value === "") return null;
  if (typeof value === "object") return (value as Quantity).value;
  return typeof value === "number" ? value : String(value);
}

function cell(book: Book, column: Column, value: unknown): TemplateResult {
  if (value === null || value === undefined || value === "") return html`<span class="none">none</span>`;
  if (column.kind === "quantity") return quantity(value as Quantity);
  if (column.kind === "number") return html`<span class="num">${number(value as number)}</span>`;
  if (column.kind === "picture") return html`${picture(value as number, "")}`;
  if (column.kind === "text") return html`<bdi>${visible(String(value))}</bdi>`;
  return keyLink(book, String(value));
}
