// A link from an element within an article to the view where it stands by itself, and can be sent on.

import { html, nothing, type TemplateResult } from "lit";
import { to } from "../../router";

/** `addressed`: it stands there already. */
export function byItself(addressed: boolean, view: string, of = "", query: Record<string, string | number | null> = {}): TemplateResult | typeof nothing {
  return addressed ? nothing : html`<p class="keys"><a href=${to(view, of, query)}>Open it by itself</a>, with an address that can be sent on.</p>`;
}
