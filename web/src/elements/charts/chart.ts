// Dots and whiskers on a track, as src/mulligan/reports/charts.py lays them out and macros.html.j2 draws them: positions
// are percentages, so that a chart follows its width while lines and letters keep their size.

import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from "lit";
import { number } from "../../words";

/** A disc is what was measured, a ring its control, a square a baseline: shapes differ as well as colours. */
export type Role = "main" | "control" | "baseline";

export interface Mark {
  role: Role;
  value: number;
  low?: number | null;
  high?: number | null;
  /** From the least to the largest, and no interval of the value: a band, without a whisker's ends. */
  range?: boolean;
}

const MARGIN = 4;

export class Axis {
  private readonly first: number;
  private readonly span: number;

  constructor(readonly ticks: number[]) {
    this.first = ticks[0]!;
    this.span = ticks[ticks.length - 1]! - this.first;
  }

  /** Round numbers that cover the values and zero; a quarter apart where all are shares. */
  static of(values: (number | null | undefined)[], share = false): Axis {
    const given = values.filter((v): v is number => typeof v === "number" && Number.isFinite(v));
    const [low, high] = [Math.min(0, ...given), Math.max(0, ...given)];
    return new Axis(share && low >= 0 && high <= 1 ? [0, 0.25, 0.5, 0.75, 1] : niceTicks(low, high));
  }

  /** Where a value lies, in per cent of the width. */
  at(value: number): number {
    const along = Math.min(1, Math.max(0, (value - this.first) / this.span));
    return MARGIN + (100 - 2 * MARGIN) * along;
  }

  get zero(): number | null {
    return this.first <= 0 && this.first + this.span >= 0 ? this.at(0) : null;
  }
}

/** Round numbers (1, 2, 2.5 or 5 times a power of ten apart) that cover [low, high] in about `wanted` steps. */
export function niceTicks(low: number, high: number, wanted = 4): number[] {
  if (!(high - low > Math.max(1e-9 * Math.max(Math.abs(low), Math.abs(high)), 1e-300))) {
    const around = Math.max(Math.abs(low), Math.abs(high));
    [low, high] = around > 1e-300 ? [low - around / 2, high + around / 2] : [-0.5, 0.5];
  }
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => power * m).find((s) => s >= rough * 0.999) ?? 10 * power;
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

export function track(axis: Axis, marks: Mark[], height = 26): TemplateResult {
  const middle = height / 2;
  return html`<svg class="track" width="100%" height=${height} aria-hidden="true" focusable="false">
    ${gridlines(axis, height)}
    ${marks.map((mark) => [whisker(axis, mark, middle), svg`<svg x="${axis.at(mark.value)}%" overflow="visible" width="1" height=${height}>${dot(mark.role, 0, middle)}</svg>`])}
  </svg>`;
}

export function gridlines(axis: Axis, height: number): SVGTemplateResult {
  const line = (x: number, kind: string) => svg`<line class=${kind} x1="${x}%" x2="${x}%" y1="0" y2=${height}></line>`;
  return svg`${axis.ticks.map((tick) => line(axis.at(tick), "grid"))}${axis.zero === null ? nothing : line(axis.zero, "zero")}`;
}

export function ticks(axis: Axis): TemplateResult {
  return html`<svg class="track axis" width="100%" height="20" aria-hidden="true" focusable="false">
    ${axis.ticks.map((tick) => svg`<text x="${axis.at(tick)}%" y="13" text-anchor="middle">${number(tick)}</text>`)}</svg>`;
}

export function dot(role: Role, x: number, y: number): SVGTemplateResult {
  if (role === "main") return svg`<circle class="mark main" cx=${x} cy=${y} r="4.5"></circle>`;
  if (role === "control") return svg`<circle class="mark control" cx=${x} cy=${y} r="4"></circle>`;
  return svg`<rect class="mark baseline" x=${x - 3.8} y=${y - 3.8} width="7.6" height="7.6"></rect>`;
}

/** A mark by itself, for the words beside it. */
export function sign(role: Role): TemplateResult {
  return html`<svg class="key" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">${dot(role, 6, 6)}</svg>`;
}

function whisker(axis: Axis, { role, low, high, range }: Mark, y: number): SVGTemplateResult | typeof nothing {
  if (low === null || low === undefined || high === null || high === undefined) return nothing;
  const [from, to] = [axis.at(low), axis.at(high)];
  if (range) return svg`<line class="range ${role}" x1="${from}%" x2="${to}%" y1=${y} y2=${y}></line>`;
  const kind = `whisker ${role}`;
  return svg`<line class=${kind} x1="${from}%" x2="${to}%" y1=${y} y2=${y}></line>
    ${[from, to].map((x) => svg`<line class=${kind} x1="${x}%" x2="${x}%" y1=${y - 4} y2=${y + 4}></line>`)}`;
}
