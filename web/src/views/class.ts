// #/class/KEY is one class, #/classes all of them.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../book/book";
import { find } from "../elements/shared/search";
import { to } from "../router";
import { brief, spaced } from "../words";
import { nowhere, register } from "./views";

register("classes", (_book, { query }) => html`<h1 tabindex="-1">Classes</h1>
  <mg-classes whole .wanted=${{ q: query.get("q") ?? "", sort: query.get("sort") ?? "" }}></mg-classes>`);

register("class", (book, { of }) => {
  const i = book.classNear(of);
  if (i < 0) return nowhere(`This page has no class named “${spaced(of)}”.`, offers(book, of));
  const { name, network } = book.index.classes;
  const networks = book.index.networks;
  return html`<header class="card-head">
      <p class="kicker">${networks.length > 1 ? html`<bdi>${brief(networks[network[i]!]?.name ?? "")}</bdi>, ` : nothing}<a href="#/classes">all classes</a></p>
      <h1 tabindex="-1"><bdi>${spaced(name[i]!)}</bdi></h1></header>
    <mg-class-card .at=${i}></mg-class-card>`;
});

function offers(book: Book, wrong: string): TemplateResult {
  const { key } = book.index.classes;
  const near = (find(key, wrong) ?? []).slice(0, 6);
  return html`${near.length ? html`<p>Near it: ${near.map((i, n) => html`${n ? ", " : ""}<a href=${to("class", key[i]!)}><bdi>${spaced(key[i]!)}</bdi></a>`)}</p>` : nothing}
    <p><a href="#/classes">All classes</a></p>`;
}
