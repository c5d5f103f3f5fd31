// What every element shares: it draws into the page itself (no shadow), so that one style, print and search reach it.

import { LitElement, html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import type { Page } from "../page/page";

export class PageElement extends LitElement {
  protected failed = "";

  protected override createRenderRoot(): this {
    // What stood in the element for readers without script gives way to what it draws.
    this.textContent = "";
    return this;
  }

  private get page(): Page {
    const page = this.closest<Page>("mg-page");
    if (!page) throw new Error(`<${this.localName}> stands outside of <mg-page>`);
    return page;
  }

  /** The page's data; nothing is drawn before they are there. */
  get book(): Book {
    return this.page.book!;
  }

  protected override async scheduleUpdate(): Promise<void> {
    await this.page.opened;
    super.scheduleUpdate();
  }

  /** Does what may fail, and shows why it did in the element's place. */
  protected async attempt<T>(work: Promise<T>): Promise<T | null> {
    try {
      return await work;
    } catch (error) {
      this.failed = error instanceof Error ? error.message : String(error);
      this.requestUpdate();
      return null;
    }
  }

  protected trouble(): TemplateResult | typeof nothing {
    return this.failed ? html`<p class="missing" role="status">${this.failed}</p>` : nothing;
  }
}
