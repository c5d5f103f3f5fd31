// Pictures that were optimized for a feature, each with what it reaches beside its controls, on one scale.

import { html, nothing, type TemplateResult } from "lit";
import type { Portrait } from "../../book/format";
import { brief, number, plural } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { picture } from "../shared/picture";
import { from, quantity } from "../shared/quantity";
import { term } from "../shared/term";

export function portraits(items: Portrait[]): TemplateResult | typeof nothing {
  if (!items.length) return nothing;
  return html`<ul class="portraits ${items.length === 1 ? "one" : ""}">${items.map((item) => html`<li><figure class=${item.alpha === null ? "lone" : ""}>
    ${picture(item.image, `Picture optimized for ${brief(item.objective)}`, html`<span class="thumb missing">the picture did not fit into this page</span>`)}
    ${picture(item.alpha, "How much each part of the picture matters, light where it matters")}
    <figcaption><p><bdi><code>${brief(item.objective)}</code></bdi></p>${item.steps ? reached(item) : nothing}
    ${item.marks.map((mark) => html`<p><span class="tag no">${brief(mark)}</span></p>`)}</figcaption></figure></li>`)}</ul>`;
}

/** What the picture reaches, and the best example; below, both on a random-weight twin, in the twin's own scale. */
function reached(p: Portrait): TemplateResult {
  const axis = Axis.of([p.reached, p.best, p.twin, p.twin_best]);
  const marks = (made: number | null, found: number | null): Mark[] => [
    ...(found === null ? [] : [{ role: "control" as const, value: found }]),
    ...(made === null ? [] : [{ role: "main" as const, value: made }]),
  ];
  const row = (name: unknown, made: number | null, found: number | null) => html`<div class="reach">
    <span class="what">${name}</span>${track(axis, marks(made, found), 22)}
    <dl><div><dt>${sign("main")}picture</dt><dd>${from(number(made), p.table)}</dd></div>
      <div><dt>${sign("control")}best example</dt><dd>${from(number(found), p.table)}</dd></div></dl></div>`;
  return html`<div class="reaches">
    ${row("This network", p.reached, p.best)}
    ${p.twin === null ? html`<p class="none">${term("random-weight twin", "Random-weight twin")}: not measured</p>` : row(term("random-weight twin", "Random-weight twin"), p.twin, p.twin_best)}
    <div class="reach ends"><span></span>${ticks(axis)}<span></span></div>
    <p class="aside">${p.examples ? html`The best of ${plural(p.examples, "example")}. ` : nothing}${p.twin === null ? nothing : html`The twin answers in a scale of its own: compare the two marks of a line.`}</p>
    ${p.natural ? html`<dl class="facts wide"><div><dt>By ${term("natural ways")}</dt><dd>${quantity(p.natural, p.table)}</dd></div></dl>` : nothing}</div>`;
}
