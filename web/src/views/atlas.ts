// "#/atlas/ID?z=&x=&y=&class=&level=": an atlas by itself, with the figures that say how far to trust it.

import { html, nothing } from "lit";
import { dots, rowsOf } from "../elements/charts/dots";
import { to } from "../router";
import { brief } from "../words";
import { nowhere, register } from "./views";

register("atlas", (book, { of, query }) => {
  const entry = book.index.atlases.find((atlas) => atlas.id === of);
  if (!entry) {
    const offers = book.index.atlases.map((atlas) => html`<li><a href=${to("atlas", atlas.id)}>${brief(atlas.title)}</a></li>`);
    return nowhere(`This page has no atlas named “${brief(of)}”.`, offers.length ? html`<ul>${offers}</ul>` : null);
  }
  const asked = (name: string, otherwise: number): number => (query.get(name) ? Number(query.get(name)) : otherwise);
  const cells = entry.panes[0]!.levels.flatMap((level) => level.figures);
  return html`<h1 tabindex="-1">${brief(entry.title)}</h1>
    <p>Each cell holds activations (${brief(entry.meaning)}) that lie near each other; its picture was optimized for what their mean has over the mean of all. Only who is beside whom means something.</p>
    <h2 class="sr">The atlas</h2>
    <mg-atlas .of=${entry.id} .x=${asked("x", 0.5)} .y=${asked("y", 0.5)} .z=${asked("z", 1)} .level=${asked("level", 0)} .sought=${query.get("class") ?? ""} addressed></mg-atlas>
    <h2>How far to trust it</h2>
      ${dots(rowsOf(entry.figures), "The layout and its controls")}
      ${cells.length ? dots(rowsOf(cells), "Labels in cells and their controls") : nothing}
      ${entry.against ? html`<h3>The two networks</h3>${dots(rowsOf(entry.against.figures), "The two networks and their controls")}` : nothing}`;
});
