// "#/map/ID?at=EXAMPLE": maps by themselves, with the figures that say how far to trust them.

import { html } from "lit";
import { dots, rowsOf } from "../elements/charts/dots";
import { to } from "../router";
import { brief, number } from "../words";
import { nowhere, register } from "./views";

register("map", (book, { of, query }) => {
  const entry = book.index.maps.find((map) => map.id === of);
  if (!entry) {
    const offers = book.index.maps.map((map) => html`<li><a href=${to("map", map.id)}>${brief(map.title)}</a></li>`);
    return nowhere(`This page has no maps named “${brief(of)}”.`, offers.length ? html`<ul>${offers}</ul>` : null);
  }
  return html`<h1 tabindex="-1">${brief(entry.title)}</h1>
    <p>Each point is one example, the same in every map; those near each other are alike to the network there. ${number(entry.n)} are shown of ${number(entry.laid_out)} that were laid out.</p>
    <h2 class="sr">The maps</h2>
    <mg-map .of=${entry.id} .at=${query.get("at") ?? ""} addressed></mg-map>
    <h2>How far to trust them</h2>
      <p>The first figure says how far an example's neighbours in a map are its neighbours in the network; the map of a network that learned nothing may keep them as well, so it stands beside it. The second says how far examples moved from one map to the next.</p>
      ${entry.sites.map((site) => html`<h3><bdi>${brief(site.site)}</bdi></h3>${dots(rowsOf(site.figures), `The map of ${brief(site.site)}`)}`)}`;
});
