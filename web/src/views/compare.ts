// "#/compare?a=&b=": two audits or networks of the page side by side.

import { html } from "lit";
import { register } from "./views";

register("compare", (_, { query }) => html`<h1 tabindex="-1">Side by side</h1><h2 class="sr">The comparison</h2>
  <mg-compare .a=${Number(query.get("a") ?? 0) || 0} .b=${Number(query.get("b") ?? 1)} addressed></mg-compare>`);
