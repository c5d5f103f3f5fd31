// "#/factors/ID?factor=": the parts of a layer's activations by themselves.

import { html } from "lit";
import { to } from "../router";
import { brief } from "../words";
import { nowhere, register } from "./views";

register("factors", (book, { of, query }) => {
  const entry = book.index.factors.find((one) => one.id === of);
  if (!entry) {
    const offers = book.index.factors.map((one) => html`<li><a href=${to("factors", one.id)}>${brief(one.title)}</a></li>`);
    return nowhere(`This page has no factors named “${brief(of)}”.`, offers.length ? html`<ul>${offers}</ul>` : null);
  }
  return html`<h1 tabindex="-1">${brief(entry.title)}</h1>
    <p>What is each, where is it, how strong, and why did it matter for <bdi>${brief(entry.output)}</bdi>?</p>
    <h2 class="sr">The factors</h2>
    <mg-factors .of=${entry.id} .factor=${Number(query.get("factor")) || 0} addressed></mg-factors>`;
});
