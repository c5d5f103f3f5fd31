// Only what is in sight is in the document: lists of ten thousand things cost what a screenful costs.
// On paper stand the first of them, and how many there are.
// One item can be tabbed to; arrow keys, Home, End and pages move it ("roving" focus), and it is kept when out of sight.

import { html, nothing, type LitElement, type ReactiveController, type TemplateResult } from "lit";
import { plural, number } from "../../words";
import { drawWaiting } from "./near";

/** Of each item its height, and the least width of a column; 0: there is one column. In rem. */
export interface Shape {
  row: number;
  least: number;
}

const SPARE = 2;
/** How many items are printed: a dozen pages or so, of lists that may have thousands. */
const PRINTED = 200;
const paper = window.matchMedia("print");

export class Windowed implements ReactiveController {
  count = 0;
  columns = 1;
  /** The item that the tabulator reaches. */
  current = 0;
  private from = 0;
  private to = 0;
  private frame: HTMLElement | null = null;
  private scrolled = 0;
  private hidden = false;
  private printing = paper.matches;
  private readonly resized = new ResizeObserver(() => this.look());

  /** The host draws one element of class "window" that scrolls, and in it `items`, each link with its data-i. */
  constructor(private readonly host: LitElement, private readonly shape: () => Shape) {
    host.addController(this);
  }

  hostConnected(): void {
    window.addEventListener("beforeprint", this.toPaper);
    window.addEventListener("afterprint", this.fromPaper);
    paper.addEventListener("change", this.medium);
  }

  private readonly toPaper = (): void => this.print(true);
  private readonly fromPaper = (): void => this.print(false);
  private readonly medium = (): void => this.print(paper.matches);

  private print(on: boolean): void {
    if (this.printing === on) return;
    this.printing = on;
    this.host.requestUpdate();
    // Pictures wait until they come near the window, which they never do on paper.
    if (on) void this.host.updateComplete.then(drawWaiting);
  }

  hostUpdated(): void {
    const frame = this.host.querySelector<HTMLElement>(".window");
    if (frame !== this.frame) {
      this.resized.disconnect();
      this.frame = frame;
      if (frame) this.resized.observe(frame);
    }
    this.look();
  }

  hostDisconnected(): void {
    window.removeEventListener("beforeprint", this.toPaper);
    window.removeEventListener("afterprint", this.fromPaper);
    paper.removeEventListener("change", this.medium);
    this.resized.disconnect();
    this.frame = null;
  }

  readonly look = (): void => {
    const frame = this.frame;
    if (!frame) return;
    if (!frame.clientHeight) {
      this.hidden = true;
      return;
    }
    // What was hidden forgot how far it was scrolled.
    if (this.hidden) frame.scrollTop = this.scrolled;
    this.hidden = false;
    const { row, least } = this.shape();
    const [height, width] = [row * rem(), least * rem()];
    this.columns = width ? Math.max(1, Math.floor(frame.clientWidth / width)) : 1;
    this.scrolled = frame.scrollTop;
    const first = Math.max(0, Math.floor(frame.scrollTop / height) - SPARE) * this.columns;
    const last = (Math.ceil((frame.scrollTop + frame.clientHeight) / height) + SPARE) * this.columns;
    const [from, to] = [Math.min(first, this.count), Math.min(last, this.count)];
    const current = Math.max(0, Math.min(this.current, this.count - 1));
    if (from === this.from && to === this.to && current === this.current) return;
    [this.from, this.to, this.current] = [from, to, current];
    this.host.requestUpdate();
  };

  /** What is to be drawn, in order. */
  get items(): number[] {
    if (this.printing) return Array.from({ length: Math.min(this.count, PRINTED) }, (_, i) => i);
    const out: number[] = [];
    for (let i = this.from; i < this.to; i++) out.push(i);
    if (this.count && this.current < this.from) out.unshift(this.current);
    else if (this.current >= this.to && this.current < this.count) out.push(this.current);
    return out;
  }

  /** The style of the window: no larger than all items need. */
  get frameStyle(): string {
    return `--whole:${Math.ceil(this.count / this.columns) * this.shape().row}rem`;
  }

  /** The style of an item. */
  place(i: number): string {
    const { row } = this.shape();
    const share = 100 / this.columns;
    return `top:${Math.floor(i / this.columns) * row}rem;left:${(i % this.columns) * share}%;width:${share}%;height:${row}rem`;
  }

  /** What paper has of it, where that is not all. */
  printed(one: string, several?: string): TemplateResult | typeof nothing {
    if (this.count <= PRINTED) return nothing;
    return html`<p class="printed">Printed: the first ${number(PRINTED)} of ${plural(this.count, one, several)}. The page has the rest.</p>`;
  }

  /** Back to the top: the list is another. */
  restart(): void {
    this.current = 0;
    this.scrolled = 0;
    [this.from, this.to] = [0, Math.min(this.to - this.from, this.count)];
    if (this.frame) this.frame.scrollTop = 0;
  }

  readonly key = (event: KeyboardEvent): void => {
    const link = (event.target as HTMLElement).closest<HTMLElement>("[data-i]");
    if (!link || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const page = Math.max(1, Math.floor((this.frame?.clientHeight ?? 0) / (this.shape().row * rem()))) * this.columns;
    const steps: Record<string, number> = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page,
      Home: -this.count, End: this.count,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    void this.go(Math.max(0, Math.min(this.count - 1, Number(link.dataset.i) + step)));
  };

  /** An item is focused by other means. */
  readonly focused = (event: FocusEvent): void => {
    const link = (event.target as HTMLElement).closest<HTMLElement>("[data-i]");
    if (!link || Number(link.dataset.i) === this.current) return;
    this.current = Number(link.dataset.i);
    this.host.requestUpdate();
  };

  /** Brings item `i` into sight and, unless told otherwise, focuses it. */
  async go(i: number, focus = true): Promise<void> {
    this.current = i;
    const frame = this.frame;
    if (frame) {
      const height = this.shape().row * rem();
      const top = Math.floor(i / this.columns) * height;
      const head = frame.querySelector<HTMLElement>(".head")?.offsetHeight ?? 0;
      const bottom = top + height - (frame.clientHeight - head);
      if (top < frame.scrollTop) frame.scrollTop = top;
      else if (bottom > frame.scrollTop) frame.scrollTop = bottom;
    }
    this.look();
    this.host.requestUpdate();
    await this.host.updateComplete;
    if (focus) this.host.querySelector<HTMLElement>(`[data-i="${i}"]`)?.focus({ preventScroll: true });
  }
}

function rem(): number {
  return Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
}
