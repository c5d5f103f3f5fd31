// What 1, 2, 3... factors explain of held-out activations, and where the curve bends.

import { html, svg, type TemplateResult } from "lit";
import type { FactorsEntry } from "../../book/explored";
import { number } from "../../words";
import { niceTicks } from "./chart";

export function elbow(curve: FactorsEntry["elbow"]): TemplateResult {
  if (!curve || !curve.explained.length) return html`<p class="none">Not measured.</p>`;
  const shares = curve.explained.map((value) => Math.min(1, Math.max(0, value)));
  const ticks = niceTicks(0, Math.max(...shares) || 1, 3);
  const top = ticks[ticks.length - 1]!;
  const x = (k: number): number => 34 + (k * 260) / Math.max(shares.length - 1, 1);
  const y = (value: number): number => 92 - (84 * value) / top;
  const points = shares.map((value, k) => `${x(k).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const told = curve.counts.map((count, k) => `${count}: ${percent(shares[k]!)}`).join(", ");
  return html`<p>What as many factors as that explain of activations that they were not fitted on. ${curve.suggested === null
    ? "The curve has no bend: no number of factors is better than its neighbours."
    : `The curve bends most at ${curve.suggested} (ringed): each further factor adds little. It is a suggestion, and no more.`}</p>
    <svg class="curve" viewBox="0 0 310 110" role="img" aria-label="Share explained by number of factors: ${told}">
      ${ticks.map((tick) => svg`<line x1="34" x2="300" y1=${y(tick)} y2=${y(tick)}></line><text x="29" y=${y(tick) + 3} text-anchor="end">${percent(tick)}</text>`)}
      <polyline points=${points}></polyline>
      ${shares.map((value, k) => svg`<circle class=${curve.counts[k] === curve.suggested ? "bend" : ""} cx=${x(k)} cy=${y(value)} r=${curve.counts[k] === curve.suggested ? 5 : 3}></circle><text x=${x(k)} y="106" text-anchor="middle">${curve.counts[k]}</text>`)}
    </svg>`;
}

/** A share of a whole in per cent, whole ones unless it is small. */
export function percent(share: number): string {
  return `${number(100 * share, share > 0 && share < 0.1 ? 1 : 0)} %`;
}
