// #/table/ID is one of the tables behind the page's numbers, #/tables the list of them.

import { html } from "lit";
import { to } from "../router";
import { brief, number, plural } from "../words";
import { nowhere, register } from "./views";

register("tables", (book) => html`<h1 tabindex="-1">Tables</h1>
  <p>Every figure of this page leads to its row in one of these, and every table lies in a file of its run.</p>
  <div class="scroll"><table><thead><tr><th scope="col">Table</th><th scope="col">Rows</th><th scope="col">Run</th><th scope="col">File</th></tr></thead>
  <tbody>${book.index.tables.map((table) => html`<tr><th scope="row"><a href=${to("table", table.id)}>${brief(table.title)}</a></th><td class="num">${number(table.n)}</td>
    <td><bdi><code>${brief(runOf(book.index.runs, table.id)?.folder ?? "")}</code></bdi></td><td><code>${brief(table.file)}</code></td></tr>`)}</tbody></table></div>`);

register("table", (book, { of, query }) => {
  const table = book.table(of);
  if (!table) return nowhere(`This page has no table “${brief(of)}”.`, html`<p><a href="#/tables">All tables of this page</a></p>`);
  const run = runOf(book.index.runs, table.id);
  return html`<header class="card-head"><p class="kicker"><a href="#/tables">all tables</a></p><h1 tabindex="-1">${brief(table.title)}</h1>
      <p>${plural(table.n, "row")}, from <code>${brief(table.file)}</code>${run ? html` of the run <bdi><code>${brief(run.folder)}</code></bdi>` : ""}.</p></header>
    <mg-table .of=${of} .row=${query.get("row") ?? ""} .wanted=${{ q: query.get("q") ?? "", sort: query.get("sort") ?? "" }}></mg-table>`;
});

function runOf<T extends { id: string }>(runs: T[], table: string): T | undefined {
  return runs.find((run) => table.startsWith(`${run.id}-`));
}
