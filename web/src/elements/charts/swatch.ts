// A factor's colour, hatching and number, which say the same three times.

import { html, type TemplateResult } from "lit";
import { classMap } from "lit/directives/class-map.js";
import { styleMap } from "lit/directives/style-map.js";

export interface Look {
  number: number;
  colour: string;
  hatch: string;
}

export function swatch({ number, colour, hatch }: Look): TemplateResult {
  return html`<span class=${classMap({ swatch: true, [hatch]: true })} style=${styleMap({ "--c": colour })}><b>${number}</b></span>`;
}
