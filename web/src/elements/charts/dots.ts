// Dots with whiskers: figures beside their controls, as the macro `dots` of the article draws them. The words beside each
// row carry every number.

import { html, nothing, type TemplateResult } from "lit";
import type { Beside } from "../../book/explored";
import type { Quantity, Reference } from "../../book/format";
import { visible } from "../../words";
import { Axis, sign, ticks, track, type Role } from "./chart";
import { isShare } from "./density";
import { quantity } from "../shared/quantity";

/** A name, how it is drawn, its value, and where that came from. */
export type Row = [string, Role, Quantity | null, (Reference | null)?];

/** Figures as rows: what is shown, then its controls. */
export function rowsOf(figures: Beside[]): Row[] {
  return figures.flatMap((figure): Row[] => [
    [figure.name, "main", figure.shown, figure.table],
    ...figure.controls.map(([name, control, table]): Row => [name, "control", control, table]),
  ]);
}

/** A chart of rows; those of one unit share an axis. */
export function dots(rows: Row[], label: string): TemplateResult {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const q = row[2];
    if (q && Number.isFinite(q.value)) groups.set(q.unit, [...(groups.get(q.unit) ?? []), row]);
  }
  const missing = rows.filter(([, , q]) => !q).map(([name]) => visible(name, 200).toLowerCase());
  return html`<figure class="dots" role="group" aria-label=${label}>
    ${[...groups.values()].map(panel)}
    ${missing.length ? html`<p class="none">Not measured: ${missing.join(", ")}.</p>` : nothing}
  </figure>`;
}

function panel(rows: Row[]): TemplateResult {
  const axis = Axis.of(rows.flatMap(([, , q]) => [q!.value, q!.low, q!.high]), rows.every(([, , q]) => isShare(q!)));
  return html`<div class="panel">
    ${rows.map(([name, role, q, table]) => html`<div class="row"><span class="what">${sign(role)}${visible(name, 200)}</span>
      ${track(axis, [{ role, ...q! }])}<span class="says">${quantity(q, table ?? null)}</span></div>`)}
    <div class="row axis" aria-hidden="true"><span class="what"></span>${ticks(axis)}<span class="says"></span></div></div>`;
}
