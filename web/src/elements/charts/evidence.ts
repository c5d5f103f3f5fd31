// <mg-evidence finding="F1" run="0" of="effect|causal|clean">: what was measured beside what it is held against, each as
// a density on one axis, with the measured value, its interval and the words.

import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Finding, Quantity } from "../../book/format";
import { brief, visible } from "../../words";
import { Axis, gridlines, sign, ticks, track, type Role } from "./chart";
import { curve, isShare, shape, type Shape } from "./density";
import { PageElement } from "../shared/element";
import { quantity } from "../shared/quantity";

interface Row {
  name: string;
  role: Role;
  q: Quantity;
}

type Named = [string, Role, Quantity | null | undefined];

/** What each part of a finding's evidence shows: the measure first, then what it is held against. */
export function parts(finding: Finding, part: string): Named[] {
  const c = finding.causal;
  if (part === "causal") return [["Before the edit", "main", c?.before], ["After the edit", "main", c?.after], ["After a matched edit that should do nothing", "control", c?.control]];
  if (part === "clean") return [["Clean, before", "baseline", c?.clean_before], ["Clean, after", "baseline", c?.clean_after]];
  return [["Effect", "main", finding.effect], ["Placebo", "control", finding.placebo], ["Black-box baseline", "baseline", finding.baseline]];
}

@customElement("mg-evidence")
export class Evidence extends PageElement {
  @property() finding = "";
  @property({ type: Number }) run = 0;
  @property() of = "effect";
  @state() private found: Finding | null = null;
  private loaded = "";

  protected override willUpdate(): void {
    const key = `${this.run}/${this.finding}`;
    if (key === this.loaded) return;
    this.loaded = key;
    this.found = null;
    void this.load(key);
  }

  private async load(key: string): Promise<void> {
    const found = await this.attempt(this.book.finding(this.run, this.finding));
    if (key === this.loaded) this.found = found;
  }

  protected override render() {
    if (this.failed) return this.trouble();
    if (!this.found) return nothing;
    const finding = this.found;
    return evidence(parts(finding, this.of), `${this.of === "causal" ? "Causal test" : this.of === "clean" ? "Cost of the edit" : "Effect and controls"} of ${brief(finding.id)}`, finding, this.of === "effect");
  }
}

function evidence(named: Named[], label: string, finding: Finding, first: boolean): TemplateResult {
  const rows: Row[] = named.flatMap(([name, role, q]) => (q && Number.isFinite(q.value) ? [{ name, role, q }] : []));
  const missing = named.filter(([, , q]) => !q).map(([name]) => name.toLowerCase());
  // Shares have one axis whatever they are shares of; other units never have one in common.
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const unit = isShare(row.q) ? "share" : row.q.unit;
    groups.set(unit, [...(groups.get(unit) ?? []), row]);
  }
  return html`<figure class="dots evidence" aria-label=${label}>
    ${[...groups.values()].map((group) => panel(group, finding))}
    ${missing.length ? html`<p class="none">Not measured: ${missing.join(", ")}.</p>` : nothing}
    ${rows.length ? html`<figcaption>${caption(rows, first)}</figcaption>` : nothing}
  </figure>`;
}

function panel(rows: Row[], finding: Finding): TemplateResult {
  const axis = Axis.of(rows.flatMap(({ q }) => [q.value, q.low, q.high]), rows.every(({ q }) => isShare(q)));
  const first = rows[0]!;
  return html`<div class="panel">${rows.map((row) => html`<div class="row">
      <span class="what">${sign(row.role)}${row.name}</span>
      <div class="density ${row.role}">${area(axis, row)}${row === first ? nothing : measured(axis, first)}${track(axis, [{ role: row.role, ...row.q }], 22)}</div>
      <span class="says">${quantity(row.q, finding.table)}</span></div>`)}
    <div class="row axis" aria-hidden="true"><span class="what"></span>${ticks(axis)}<span class="says"></span></div></div>`;
}

const HEIGHT = 46;

/** The density: its outline keeps its width, and a mask of the style sheet lays hatching on it without stretching it. */
function area(axis: Axis, { q }: Row): TemplateResult {
  const [from, to] = [axis.ticks[0]!, axis.ticks[axis.ticks.length - 1]!];
  const points = shape(q) ? curve(q, from, to) : [];
  const place = ([x, y]: [number, number]) => `${axis.at(x).toFixed(2)}% ${((1 - 0.94 * y) * 100).toFixed(1)}%`;
  const clip = points.length ? `clip-path:polygon(${axis.at(from)}% 100%,${points.map(place).join(",")},${axis.at(to)}% 100%)` : "display:none";
  const line = points.map(([x, y]) => `${axis.at(x).toFixed(2)},${((1 - 0.94 * y) * 100).toFixed(1)}`).join(" ");
  return html`<div class="area" style="height:${HEIGHT}px"><svg class="grids" width="100%" height=${HEIGHT} aria-hidden="true">${gridlines(axis, HEIGHT)}</svg>
    <div class="fill" style=${clip}></div>
    <svg class="outline" width="100%" height=${HEIGHT} viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">${outline(line)}</svg></div>`;
}

function outline(points: string): SVGTemplateResult {
  return svg`<polyline points=${points} fill="none" vector-effect="non-scaling-stroke"></polyline>`;
}

/** Where the measure itself lies, through the rows of what it is held against. */
function measured(axis: Axis, { q }: Row): TemplateResult {
  return html`<span class="measured" style="left:${axis.at(q.value)}%" aria-hidden="true"></span>`;
}

/** Says what is drawn: in full above the first chart of a finding, in short below it. */
function caption(rows: Row[], full: boolean): string {
  const shapes = new Set<Shape>(rows.map(({ q }) => shape(q)));
  const line = rows.length > 1 ? `the dashed line is the value of “${visible(rows[0]!.name.toLowerCase())}”` : "";
  if (!full) return `Curves, marks and whiskers as above${line ? `; ${line}` : ""}.`;
  return [
    shapes.has("beta") ? "Curve of a share: the likelihood of every value between 0 and 1 when k of n were seen, which is the Beta(k + 1, n − k + 1) density; k is the measured share times n." : "",
    shapes.has("normal") ? "Curve of another quantity: a normal density about the measured value whose two halves are as wide as the halves of its interval." : "",
    shapes.has(null) ? "No curve where neither n nor an interval is known." : "",
    "All curves are drawn equally high: their widths say how sure each value is, their heights nothing.",
    `The mark is the measured value, its whisker the interval as the run states it${line ? `; ${line}` : ""}.`,
  ].filter(Boolean).join(" ");
}
