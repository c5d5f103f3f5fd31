// Which zoom of an atlas is shown, and what its cells say.

import type { AtlasCell, AtlasLevel } from "../../book/explored";
import type { Quantity } from "../../book/format";
import { brief, number, plural, shown } from "../../words";

const CELL = 34; // pixels that a cell has at least
const UNDRAWN = 68; // where the zoom has no pictures yet

/** The finest zoom whose cells are large enough to be seen; `pinned` is the one that was asked for. */
export function levelAt(levels: AtlasLevel[], pinned: number, window: number, zoom: number): AtlasLevel {
  const asked = levels.find((level) => level.side === pinned);
  if (asked) return asked;
  const fit = levels.filter((level) => (window * zoom) / level.side >= (level.drawn ? CELL : UNDRAWN));
  return fit.reduce((best, level) => (level.side > best.side ? level : best), fit[0] ?? levels[0]!);
}

/** What a cell pushes to, as far as that is sure: an effect whose interval lies above zero. */
export function pushed(cell: AtlasCell): [string, Quantity][] {
  return cell.effects.filter(([, q]) => q.low !== null && q.low > 0);
}

export function pushes(cell: AtlasCell, name: string): boolean {
  return pushed(cell).some(([other]) => other === name);
}

export function holds(cell: AtlasCell, name: string): boolean {
  return cell.labels.some(([other]) => other === name);
}

/** A cell's sure effect on a class, and what it holds of that label: what cells are sorted by when one is sought. */
function weight(cell: AtlasCell, sought: string): [number, number] {
  const effect = pushed(cell).find(([name]) => name === sought)?.[1].value ?? 0;
  const held = cell.labels.find(([name]) => name === sought)?.[1] ?? 0;
  return [effect, held];
}

/** Cells that push to `sought` most first, then those that hold most of it; without it, the fullest first. */
export function sorted(cells: AtlasCell[], sought: string): AtlasCell[] {
  const every = sought ? cells.filter((cell) => weight(cell, sought).some((w) => w > 0)) : [...cells];
  return every.sort((a, b) => {
    const [ea, ha] = weight(a, sought);
    const [eb, hb] = weight(b, sought);
    return eb - ea || hb - ha || b.n - a.n || a.row - b.row || a.column - b.column;
  });
}

export function labelsOf(cell: AtlasCell): string {
  return cell.labels.map(([label, n]) => `${brief(label)} (${number(n)})`).join(", ") || "not known";
}

/** An effect without its unit, which is said once for all. */
export function effectOf(q: Quantity): string {
  const { value, interval } = shown(q);
  return `${value} ${interval}`;
}

export function pushesOf(cell: AtlasCell): string {
  return pushed(cell).map(([name, q]) => `${brief(name)} ${effectOf(q)}`).join(", ");
}

/** A zoom in a sentence. */
export function captionOf(level: AtlasLevel): string {
  const parts = [`${plural(level.kept, "cell")} of ${level.side} x ${level.side}, ${number(level.drawn)} drawn.`];
  if (level.drawn < level.kept) parts.push("A square is a cell that is not drawn: the larger, the more activations; those of one colour have one commonest label, which is named where you point (grey: no label is known).");
  if (level.thin) parts.push(`${plural(level.thin, "thin cell")} with ${plural(level.thin_activations, "activation")} left out.`);
  if (level.figures.length && !level.named) parts.push("No names are written on the map, since cells are no purer in labels than by chance.");
  if (level.why) parts.push(level.why);
  return parts.join(" ");
}

/** Every class that cells push to and every label that they hold, by name. */
export function namesIn(cells: AtlasCell[]): string[] {
  const names = new Set(cells.flatMap((cell) => [...cell.effects.map(([name]) => name), ...cell.labels.map(([name]) => name)]));
  return [...names].sort((a, b) => a.localeCompare(b));
}
