// #/unit/KEY is one feature, #/features all of them.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../book/book";
import { wanted } from "../elements/lists/features";
import { classLink, featureName, networkOf, selectiveFor } from "../elements/shared/naming";
import { find } from "../elements/shared/search";
import { term } from "../elements/shared/term";
import { to } from "../router";
import { brief, visible } from "../words";
import { nowhere, register } from "./views";

register("features", (_book, address) => html`<h1 tabindex="-1">Features</h1>
  <p>What units and directions of the network answer to. Descriptions beside their controls, never findings.</p>
  <mg-features whole .wanted=${wanted(address.query)}></mg-features>`);

register("unit", (book, { of }) => {
  const i = book.feature(of);
  if (i < 0) return nowhere(`This page has no feature named “${brief(of)}”.`, offers(book, of));
  const { features, sites, networks } = book.index;
  const site = features.site[i]!;
  const network = networkOf(book, i);
  const label = features.label[i];
  const selective = selectiveFor(book, i);
  const key = `${network ? `${network}~` : ""}${sites.name[site]}`;
  return html`<header class="card-head">
      <p class="kicker">${networks.length > 1 ? html`<bdi>${brief(networks[network]?.name ?? "")}</bdi>, ` : nothing}<a href=${to("features", "", { site: key })}>all of <bdi><code>${brief(sites.name[site]!)}</code></bdi></a></p>
      <h1 tabindex="-1"><bdi><code>${brief(featureName(book, i))}</code></bdi>${label ? html` <span class="named">“<bdi>${brief(label)}</bdi>”</span>` : nothing}</h1>
      ${sites.meaning[site] ? html`<p><bdi>${visible(sites.meaning[site]!)}</bdi></p>` : nothing}
      ${selective && !label ? html`<p>${term("selectivity", "Selective")} for ${classLink(book, network, selective)}.</p>` : nothing}
      ${neighbours(book, i)}</header>
    <mg-card .at=${i}></mg-card>
    ${book.index.review ? html`<section><h2>What readers say</h2><mg-review-feature .key=${of}></mg-review-feature></section>` : nothing}`;
});

/** The features of the same site before and after it. */
function neighbours(book: Book, i: number): TemplateResult {
  const { key, site, unit } = book.index.features;
  const same = key.map((_, k) => k).filter((k) => site[k] === site[i]).sort((a, b) => (unit[a] ?? 0) - (unit[b] ?? 0));
  const at = same.indexOf(i);
  const link = (k: number | undefined, rel: string, arrow: string) =>
    k === undefined ? nothing : html`<a rel=${rel} href=${to("unit", key[k]!)}>${rel === "prev" ? `${arrow} ` : ""}<bdi><code>${brief(featureName(book, k))}</code></bdi>${rel === "next" ? ` ${arrow}` : ""}</a>`;
  return html`<nav class="neighbours" aria-label="Units of the same site">${link(same[at - 1], "prev", "←")}${link(same[at + 1], "next", "→")}</nav>`;
}

function offers(book: Book, wrong: string): TemplateResult {
  const { key } = book.index.features;
  const near = (find(key, wrong) ?? []).slice(0, 6);
  const site = wrong.slice(0, Math.max(0, wrong.lastIndexOf(":")));
  const known = book.index.sites.name.some((name, n) => `${book.index.sites.network[n] ? `${book.index.sites.network[n]}~` : ""}${name}` === site);
  return html`${near.length ? html`<p>Near it: ${near.map((i, n) => html`${n ? ", " : ""}<a href=${to("unit", key[i]!)}><bdi><code>${brief(key[i]!)}</code></bdi></a>`)}</p>` : nothing}
    <p>${known ? html`<a href=${to("features", "", { site })}>All that the page has of <code>${brief(site)}</code></a>, or ` : nothing}<a href="#/features">all features</a>.</p>`;
}
