// #/glossary: every word that the page explains; #/glossary/placebo: that one is marked.

import { html } from "lit";
import { brief, visible } from "../words";
import { nowhere, register } from "./views";

register("glossary", (book, { of }) => {
  const words = Object.entries(book.index.glossary).sort(([a], [b]) => a.localeCompare(b));
  if (of && !book.index.glossary[of]) return nowhere(`The glossary does not have “${brief(of)}”.`, html`<p><a href="#/glossary">All of the glossary</a></p>`);
  const mine = words.filter(([word]) => word === of);
  const entry = ([word, meaning]: [string, string]) => html`<div class=${word === of ? "mine" : ""}><dt>${brief(word)}</dt><dd>${visible(meaning)}</dd></div>`;
  return html`<h1 tabindex="-1">${of ? brief(of) : "Glossary"}</h1>
    ${of ? html`<dl class="glossary first">${mine.map(entry)}</dl><h2>The other words</h2>` : ""}
    <dl class="glossary">${words.filter(([word]) => word !== of).map(entry)}</dl>`;
});
