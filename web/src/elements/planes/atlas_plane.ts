// One network's atlas on a canvas: tiles that are fetched when they come into sight, outlines of cells, and names where
// they do not overlap.

import type { AtlasCell, AtlasLevel, AtlasPane } from "../../book/explored";
import type { Picture } from "../../book/format";
import { brief } from "../../words";
import { holds, pushes } from "./atlas_levels";
import type { Camera } from "./plane";
import { Surface } from "./surface";

const NAMES = 26; // in a window of 600 pixels
const LONGEST = 18; // letters of a name
const LEAST = 44; // pixels that a name may always have

/** What is known of one zoom. `claims`: cells with a label, those that hold most of it first. */
interface Known {
  at: Map<number, AtlasCell>;
  cells: AtlasCell[];
  claims: AtlasCell[];
}

export class AtlasPlane extends Surface {
  level: AtlasLevel;
  /** Outlined: the one that is pointed at, and the one that was chosen. */
  hovered: AtlasCell | null = null;
  chosen: AtlasCell | null = null;
  /** A class or label whose cells are outlined; "": none. */
  sought = "";
  private readonly known = new Map<AtlasLevel, Known>();
  private readonly images = new Map<number, HTMLImageElement | null>();

  constructor(
    canvas: HTMLCanvasElement, camera: Camera, readonly pane: AtlasPane, private readonly words: HTMLElement,
    private readonly picture: (n: number) => Promise<Picture>, private readonly arrived: () => void,
  ) {
    super(canvas, camera);
    this.level = pane.levels[0]!;
  }

  /** The cells of a zoom, once they have come. */
  learn(level: AtlasLevel, cells: AtlasCell[]): void {
    const claims = cells.filter((cell) => cell.labels.length).sort((a, b) => b.labels[0]![1] - a.labels[0]![1] || a.row - b.row || a.column - b.column);
    this.known.set(level, { cells, claims, at: new Map(cells.map((cell) => [cell.row * level.side + cell.column, cell])) });
  }

  knows(level: AtlasLevel): boolean {
    return this.known.has(level);
  }

  get cells(): AtlasCell[] {
    return this.known.get(this.level)?.cells ?? [];
  }

  cell(row: number, column: number): AtlasCell | null {
    return this.known.get(this.level)?.at.get(row * this.level.side + column) ?? null;
  }

  /** The cell at a pixel of the window. */
  under(px: number, py: number): AtlasCell | null {
    const [u, v] = this.camera.place(px, py, this.canvas.clientWidth);
    return this.cell(Math.floor(v * this.level.side), Math.floor(u * this.level.side));
  }

  /** Draws a cell's picture into a canvas; whether it has one that is there. */
  portray(cell: AtlasCell, into: HTMLCanvasElement): boolean {
    const tile = this.level.tiles.find((t) => cell.row >= t.row && cell.row < t.row + t.rows && cell.column >= t.column && cell.column < t.column + t.columns);
    const image = tile && this.image(tile.picture);
    if (!tile || !image) return false;
    const width = image.naturalWidth / tile.columns;
    const height = image.naturalHeight / tile.rows;
    into.getContext("2d")!.drawImage(image, (cell.column - tile.column) * width, (cell.row - tile.row) * height, width, height, 0, 0, into.width, into.height);
    return true;
  }

  private image(n: number | null): HTMLImageElement | null {
    if (n === null) return null;
    const found = this.images.get(n);
    if (found !== undefined) return found;
    this.images.set(n, null);
    void this.picture(n).then(async ({ src }) => {
      const image = new Image();
      image.src = src;
      await image.decode();
      this.images.set(n, image);
      this.stale();
      this.arrived();
    }).catch(() => undefined); // what cannot be decoded stays empty, as what is missing does
    return null;
  }

  protected override look(): string {
    return String(this.level.side);
  }

  protected override stamp(context: CanvasRenderingContext2D, size: number, scale: number): void {
    const { side, tiles } = this.level;
    context.imageSmoothingQuality = "medium";
    for (const tile of tiles) {
      // From edge to edge in whole pixels, so that no seam shows between tiles.
      const [left, right] = [tile.column, tile.column + tile.columns].map((c) => Math.round((c / side - this.camera.x) * scale + size / 2)) as [number, number];
      const [top, bottom] = [tile.row, tile.row + tile.rows].map((r) => Math.round((r / side - this.camera.y) * scale + size / 2)) as [number, number];
      if (right < 0 || bottom < 0 || left > size || top > size) continue;
      const image = this.image(tile.picture);
      if (image) context.drawImage(image, left, top, right - left, bottom - top);
    }
  }

  protected override over(context: CanvasRenderingContext2D, side: number): void {
    const edge = (side * this.camera.zoom) / this.level.side;
    const box = (cell: AtlasCell): [number, number] => [this.camera.across(cell.column / this.level.side, side), this.camera.down(cell.row / this.level.side, side)];
    const outline = (cell: AtlasCell, width: number, dash: number[]): void => {
      const [x, y] = box(cell);
      if (x + edge < 0 || y + edge < 0 || x > side || y > side) return;
      // Black beside white is seen on any picture.
      for (const [more, colour] of [[2, "#fff"], [0, "#111"]] as const) {
        context.lineWidth = width + more;
        context.strokeStyle = colour;
        context.setLineDash(more ? [] : dash);
        context.strokeRect(x + width / 2, y + width / 2, edge - width, edge - width);
      }
      context.setLineDash([]);
    };
    if (this.sought) {
      for (const cell of this.cells) {
        const sure = pushes(cell, this.sought);
        if (sure) outline(cell, 3, []);
        else if (holds(cell, this.sought)) outline(cell, 2, [3, 3]);
        if (sure && edge > 14) flag(context, ...box(cell));
      }
    }
    if (this.chosen) outline(this.chosen, 5, []);
    if (this.hovered && this.hovered !== this.chosen) outline(this.hovered, 3, []);
    this.name(context, side);
  }

  /** Names on the map: each label where most of its activations lie together, as far as names do not overlap. */
  private name(context: CanvasRenderingContext2D, side: number): void {
    const shown: { text: string; x: number; y: number; half: number }[] = [];
    const said = new Set<string>();
    const most = Math.max(6, Math.round(NAMES * Math.min(1, (side / 600) ** 2)));
    const claims = this.level.named ? (this.known.get(this.level)?.claims ?? []) : [];
    context.font = "600 12px system-ui, sans-serif";
    const edge = (side * this.camera.zoom) / this.level.side;
    for (const cell of claims) {
      if (shown.length >= most) break;
      const label = cell.labels[0]![0];
      if (said.has(label)) continue;
      const y = this.camera.down((cell.row + 0.5) / this.level.side, side);
      let x = this.camera.across((cell.column + 0.5) / this.level.side, side);
      if (x < 0 || y < 10 || x > side || y > side - 10) continue;
      const text = fitted(context, short(label), Math.max(LEAST, 2 * edge - 16));
      const half = context.measureText(text).width / 2 + 8;
      // What is wider than its cell begins with it, so that it lies on two cells and not on three.
      if (2 * half > edge) x += half - edge / 2;
      x = Math.min(Math.max(x, half), side - half);
      if (shown.some((w) => Math.abs(w.y - y) < 22 && Math.abs(w.x - x) < w.half + half)) continue;
      said.add(label);
      shown.push({ text, x, y, half });
    }
    while (this.words.children.length < shown.length) this.words.append(document.createElement("i"));
    [...this.words.children].forEach((element, k) => {
      const word = shown[k];
      (element as HTMLElement).hidden = !word;
      if (!word) return;
      if (element.textContent !== word.text) element.textContent = word.text;
      (element as HTMLElement).style.transform = `translate(${word.x.toFixed(1)}px, ${word.y.toFixed(1)}px) translate(-50%, -50%)`;
    });
  }
}

/** A corner with an arrow: this cell pushes. */
function flag(context: CanvasRenderingContext2D, x: number, y: number): void {
  context.fillStyle = "#fff";
  context.strokeStyle = "#111";
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x + 3, y + 13);
  context.lineTo(x + 8, y + 3);
  context.lineTo(x + 13, y + 13);
  context.closePath();
  context.fill();
  context.stroke();
}

/** As much of a name as `room` holds: names lie on the pictures of their cells, and are not to hide those of others. */
function fitted(context: CanvasRenderingContext2D, text: string, room: number): string {
  const letters = [...text];
  const cut = (n: number): string => (n < letters.length ? `${letters.slice(0, n).join("")}…` : text);
  let n = letters.length;
  while (n > 3 && context.measureText(cut(n)).width > room) n--;
  return cut(n);
}

function short(label: string): string {
  const letters = [...brief(label)];
  return letters.length > LONGEST ? `${letters.slice(0, LONGEST - 1).join("")}…` : letters.join("");
}
