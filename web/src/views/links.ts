// "#/links?at=KEY": what drives what, around one unit or class.

import { html } from "lit";
import { nowhere, register } from "./views";

register("links", (book, { of, query }) => {
  if (!book.index.links.n) return nowhere("No run of this page measured what drives what.");
  return html`<h1 tabindex="-1">What drives what</h1>
    <p>Units and the outputs that they drive, as far as audits measured it: attribution ranks, and only an ablation confirms. None of it is part of a verdict.</p>
    <h2 class="sr">The graph</h2>
    <mg-links .at=${query.get("at") || of} addressed></mg-links>`;
});
