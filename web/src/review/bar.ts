// <mg-served>: stands above a served page and leads to the other runs and to the queue. The page itself knows nothing of it.

import { LitElement, html } from "lit";
import { customElement } from "lit/decorators.js";
import { Page } from "../elements/page/page";
import { keepToken } from "./client";
import { wear } from "./style";

@customElement("mg-served")
export class Served extends LitElement {
  protected override createRenderRoot(): this {
    return this;
  }

  protected override render() {
    return html`<nav class="served" aria-label="This server"><a href="/">All runs</a><a href="#/review">Review</a></nav>`;
  }
}

keepToken();
for (const page of document.querySelectorAll<Page>("mg-page")) {
  void page.opened.then(() => {
    if (!page.book?.index.review || page.embedded) return;
    wear();
    page.before(document.createElement("mg-served"));
  });
}
