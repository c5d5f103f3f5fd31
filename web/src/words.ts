// How numbers and names are written: what src/mulligan/reports/text.py does, so that prose and elements agree.
// tests/reports/page holds the two against each other.

import type { Quantity } from "./book/format";

export const NOT_MEASURED = "not measured";
const GROUP = "\u202f";
const POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number for people: three significant digits or `decimals` places, digits grouped, a true minus sign. */
export function number(value: number | null | undefined, decimals: number | null = null): string {
  if (value === null || value === undefined || Number.isNaN(value)) return NOT_MEASURED;
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "minus infinite";
  const size = Math.abs(value);
  let digits: string;
  // A random network's perplexity, say: of a billion and more, digits that nobody measured are not written out.
  if (size >= 1e9 && (decimals !== null || !Number.isInteger(size))) digits = power(size);
  else if (decimals !== null) digits = grouped(fixed(size, decimals));
  else if (Number.isInteger(value) || size >= 999.5) digits = size < 1e15 ? grouped(fixed(size, 0)) : power(size);
  else if (size < 1e-4) digits = power(size);
  else digits = String(Number(fixed(size, 2 - Number(size.toExponential(2).split("e")[1]))));
  return (value < 0 && /[1-9]/.test(digits) ? "−" : "") + digits;
}

/** `size` with so many decimals; a tie goes to the even digit, as in Python. */
function fixed(size: number, decimals: number): string {
  if (size >= 1e21) return BigInt(size).toString() + (decimals ? `.${"0".repeat(decimals)}` : "");
  const down = size.toFixed(decimals);
  // A hundred digits are all that any tie has: of those, the ones that are cut off are a five and zeros.
  const [, rest = ""] = size.toFixed(100).split(".");
  if (!/^50*$/.test(rest.slice(decimals))) return down;
  const lower = decimals ? size.toFixed(100).slice(0, decimals - 100) : String(Math.floor(size));
  return /[02468]$/.test(lower) ? lower : down;
}

function grouped(digits: string): string {
  const [whole = "", part] = digits.split(".");
  const sets = whole.replace(/\B(?=(\d{3})+$)/g, GROUP);
  return part === undefined ? sets : `${sets}.${part}`;
}

function power(size: number): string {
  const [mantissa = "", exponent = ""] = exponential(size).split("e");
  const raised = [...exponent.replace("+", "")].map((c) => (c === "-" ? "⁻" : POWERS[Number(c)])).join("");
  return `${mantissa} × 10${raised}`;
}

/** One decimal and a power of ten; a tie goes to the even digit. */
function exponential(size: number): string {
  const [whole = "", exponent = ""] = size.toExponential(100).split("e");
  const [first = "", rest = ""] = whole.split(".");
  if (!/^.50*$/.test(rest) || !/[02468]/.test(rest[0]!)) return size.toExponential(1);
  return `${first}.${rest[0]}e${exponent}`;
}

export interface Shown {
  value: string;
  interval: string;
  unit: string;
  n: string;
}

/** A quantity with as many decimals as its interval deserves, so that no digit is pretended. */
export function shown(quantity: Quantity): Shown {
  const { low, high } = quantity;
  let decimals: number | null = null;
  let interval = "no interval";
  if (low !== null && high !== null) {
    const width = high - low;
    if (Number.isFinite(width) && width > 0) {
      const wanted = 1 - Math.floor(Math.log10(width));
      decimals = wanted <= 6 ? Math.max(0, wanted) : null;
    }
    const level = quantity.level === 0.95 ? "" : ` at ${Number((100 * quantity.level).toPrecision(3))} %`;
    interval = `[${number(low, decimals)}, ${number(high, decimals)}]${level}`;
  }
  const n = quantity.n === null ? "n not recorded" : `n = ${number(quantity.n)}`;
  return { value: number(quantity.value, decimals), interval, unit: visible(quantity.unit, 200), n };
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${number(n)} ${n === 1 ? one : many}`;
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufdd0-\ufdef]|[\ufffe\uffff]/u;

/** `text` with every character that cannot be seen as its code point, cut after `limit` with a note that says so. */
export function visible(text: string, limit: number | null = 2000): string {
  let all = [...text];
  const left = limit !== null && all.length > limit ? all.length - limit : 0;
  if (left) all = all.slice(0, limit!);
  const out = all.map((c, i) => (hidden(all, i) ? `[U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]` : c));
  return left ? `${out.join("")}… (${left} more characters)` : out.join("");
}

function hidden(all: string[], i: number): boolean {
  const c = all[i]!;
  if (c === "\n" || c === "\t") return false;
  if (c === "\u200c" || c === "\u200d") {
    const inside = i > 0 && i < all.length - 1;
    return !(inside && all[i - 1]!.codePointAt(0)! > 0x2ff && all[i + 1]!.codePointAt(0)! > 0x2ff);
  }
  return HIDDEN.test(c) || (c.codePointAt(0)! & 0xfffe) === 0xfffe;
}

/** A name, short enough that it cannot push what matters out of sight. */
export function brief(text: string): string {
  return visible(text, 200);
}

/** A name whose spaces at its ends can be seen, as many tokens have one: "␣of". */
export function spaced(text: string): string {
  const [, before = "", inner = "", after = ""] = /^( *)([^]*?)( *)$/.exec(text) ?? [];
  return brief("␣".repeat(before.length) + inner + "␣".repeat(after.length));
}

/** A token as shown: line ends and tabs as signs, other hidden characters as code points. */
export function token(text: string): string {
  return text ? visible(text, 200).replaceAll("\n", "↵").replaceAll("\t", "⇥") : "(empty)";
}
