// How likely each value is, given what was measured: the curves behind evidence, at 200 places of an axis.

import type { Quantity } from "../../book/format";

const SHARES = ["fraction", "share", "probability", "proportion", "accuracy", "recall"];
const STEPS = 200;

/** Whether a quantity is a share between 0 and 1. */
export function isShare({ unit, value }: Quantity): boolean {
  return value >= 0 && value <= 1 && SHARES.some((word) => unit.toLowerCase().startsWith(word));
}

export type Shape = "beta" | "normal" | null;

/** Which curve a quantity gets: null where nothing says how sure it is. */
export function shape(q: Quantity): Shape {
  if (isShare(q) && q.n !== null && q.n > 0) return "beta";
  return q.low !== null && q.high !== null && q.high > q.low ? "normal" : null;
}

/** Heights from 0 to 1 at evenly spaced values from `from` to `to`. */
export function curve(q: Quantity, from: number, to: number): [number, number][] {
  const log = shape(q) === "beta" ? beta(q.value, q.n!) : normal(q);
  const values = Array.from({ length: STEPS + 1 }, (_, k) => from + ((to - from) * k) / STEPS);
  // The peak lies between two places, and is one of them: curves are to be of one height, wherever they peak.
  const places = [...new Set([...values, Math.min(to, Math.max(from, q.value))])].sort((a, b) => a - b);
  const logs = places.map(log);
  const top = Math.max(...logs);
  return places.map((x, k) => [x, Math.exp(logs[k]! - top)]);
}

/** Beta(k + 1, n - k + 1), of which the logarithm is enough: the likelihood of a share x when k of n were seen. */
function beta(share: number, n: number): (x: number) => number {
  const [k, rest] = [share * n, n - share * n];
  // 0 * log(0) is 0 here: nobody saw one, and x = 0 is the likeliest.
  return (x) => (x < 0 || x > 1 ? -Infinity : (k ? k * Math.log(x) : 0) + (rest ? rest * Math.log(1 - x) : 0));
}

/** A normal density whose halves are as wide as the interval's halves. */
function normal({ value, low, high, level }: Quantity): (x: number) => number {
  const z = quantile(level);
  const [down, up] = [Math.max(value - low!, 1e-12) / z, Math.max(high! - value, 1e-12) / z];
  return (x) => -0.5 * ((x - value) / (x < value ? down : up)) ** 2;
}

/** How many standard deviations hold `level` of a normal density (1.96 for 0.95), by halving. */
export function quantile(level: number): number {
  let [low, high] = [0, 10];
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (within(middle) < level) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The share of a normal density within z standard deviations, by Simpson's rule. */
function within(z: number): number {
  const steps = 200;
  const density = (x: number) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  let sum = density(-z) + density(z);
  for (let k = 1; k < steps; k++) sum += (k % 2 ? 4 : 2) * density(-z + (2 * z * k) / steps);
  return (sum * 2 * z) / (3 * steps);
}
