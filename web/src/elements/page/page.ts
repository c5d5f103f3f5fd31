// <mg-page>: holds the data, and shows either the article or, behind an address "#/...", a view in its place.

import { LitElement, html, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Book } from "../../book/book";
import { Embedded, Served, type Transport } from "../../book/transport";
import { disown, read, type Address } from "../../router";
import { view } from "../../views/views";
import * as words from "../../words";
import { finish } from "../shared/term";

@customElement("mg-page")
export class Page extends LitElement {
  /** Where a server has the data; without it, the page itself does. */
  @property() base = "";
  /** Another way to the data, for notebooks. */
  @property({ attribute: false }) transport: Transport | null = null;
  /** Notebooks show several pages in one document, and none of them owns its address. */
  @property({ type: Boolean }) embedded = false;
  /** How the page writes numbers and names, for whoever shows some beside it. */
  static readonly words = words;
  book: Book | null = null;
  /** Resolves when the data are there; never where they cannot be read. */
  readonly opened: Promise<void>;
  private open!: () => void;

  private address: Address | null = null;
  /** How far the article was scrolled when it was left. */
  private place = 0;
  private readonly title0 = document.title;
  private trouble = "";
  private stage: HTMLElement | null = null;

  constructor() {
    super();
    this.opened = new Promise((resolve) => (this.open = resolve));
  }

  protected override createRenderRoot(): HTMLElement {
    this.stage = document.createElement("div");
    this.stage.className = "stage";
    this.append(this.stage);
    return this.stage;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.embedded) disown();
    else window.addEventListener("hashchange", this.moved);
    this.addEventListener("click", this.clicked);
    void this.start();
    // Browsers that do not open the contents of wide windows by style.
    if (!window.matchMedia("(max-width: 40rem)").matches) this.querySelector(".toc > details")?.setAttribute("open", "");
  }

  override disconnectedCallback(): void {
    window.removeEventListener("hashchange", this.moved);
    this.removeEventListener("click", this.clicked);
    super.disconnectedCallback();
  }

  private async start(): Promise<void> {
    try {
      this.book = await Book.open(this.transport ?? (this.base ? new Served(this.base) : new Embedded()));
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
    if (this.book) this.open();
    this.address = this.embedded ? null : read(location.hash);
    this.arrange();
    this.requestUpdate();
    await this.updateComplete;
    this.entitle();
    document.documentElement.dataset.mgReady = String(Math.round(performance.now()));
    finish(this, this.book?.index.glossary ?? {});
  }

  private readonly moved = (): void => this.go(location.hash);

  // Within srcdoc, "#..." is taken for an address of the page around it; in a notebook's own page it must not be changed.
  private readonly clicked = (event: MouseEvent): void => {
    if (!this.embedded && location.protocol !== "about:") return;
    const link = (event.composedPath() as Element[]).find((part) => part instanceof HTMLAnchorElement);
    const hash = link?.getAttribute("href") ?? "";
    if (!hash.startsWith("#") || event.defaultPrevented) return;
    event.preventDefault();
    if (this.embedded) this.go(hash);
    else location.hash = hash;
  };

  private go(hash: string): void {
    const next = read(hash);
    const left = this.address !== null && next === null;
    if (!this.address) this.place = window.scrollY;
    this.address = next;
    this.arrange();
    this.requestUpdate();
    void this.updateComplete.then(() => {
      this.entitle();
      if (next) {
        if (this.embedded) this.scrollIntoView();
        else window.scrollTo(0, 0);
        this.querySelector<HTMLElement>(".stage h1")?.focus({ preventScroll: true });
      } else if ((left || this.embedded || location.protocol === "about:") && hash.length > 1 && hash !== "#/") {
        const root = this.getRootNode() as Document | ShadowRoot;
        root.getElementById(decodeURIComponent(hash.slice(1)))?.scrollIntoView();
      } else if (left && !this.embedded) {
        window.scrollTo(0, this.place);
      }
    });
  }

  // A tab, a bookmark and a screen reader go by the document's title.
  private entitle(): void {
    if (this.embedded) return;
    const heading = this.querySelector(".stage h1")?.textContent?.trim().replace(/\s+/g, " ");
    document.title = heading ? `${heading} · ${this.title0}` : this.title0;
  }

  // The article stays in the document, so that its place and what was opened in it are kept.
  private arrange(): void {
    const shown = this.address !== null;
    this.classList.toggle("viewing", shown);
    for (const part of this.children) if (part !== this.stage) (part as HTMLElement).hidden = shown;
  }

  protected override render() {
    if (this.trouble) return html`<p class="missing" role="alert">${this.trouble}</p>`;
    if (!this.book || !this.address) return nothing;
    return html`<main class="view" id="view">${view(this.book, this.address)}</main>`;
  }
}
