// Points on a canvas, tens of thousands of them: each is stamped pixel by pixel, which a processor does faster than it
// draws as many pictures.

import Flatbush from "flatbush";
import { mark } from "./marks";
import { Camera } from "./plane";
import { Surface } from "./surface";

/** Coordinates from 0 to 1, and the group of each point (-1: none). */
export interface Points {
  x: Float32Array;
  y: Float32Array;
  group: Int16Array;
}

interface Sprite {
  /** Of each pixel: how far right and down of the point, blue, green and red, and how much of it covers what lies below. */
  dx: Int16Array;
  dy: Int16Array;
  colour: Uint32Array;
  alpha: Uint8Array;
  reach: number;
}

const PAD = 0.03; // of the plane on each side, so that points at its border are whole

export class Scatter extends Surface {
  /** The group that alone has colour; null: all. */
  only: number | null = null;
  /** Points with a ring, and the one of them that was chosen. */
  hovered = -1;
  chosen = -1;
  private tree: Flatbush | null = null;
  private image: ImageData | null = null;

  constructor(canvas: HTMLCanvasElement, readonly points: Points) {
    super(canvas, new Camera(64));
  }

  /** The point nearest to a pixel of the window, if one is near; -1: none. */
  near(px: number, py: number, most = 14): number {
    const side = this.canvas.clientWidth;
    const [u, v] = this.camera.place(px, py, side);
    const keep = this.only === null ? undefined : (i: number): boolean => this.points.group[i] === this.only;
    return this.planted()?.neighbors(u, v, 1, most / (side * this.camera.zoom), keep)[0] ?? -1;
  }

  /** The points nearest to a point, nearest first. */
  beside(i: number, wanted: number): number[] {
    const found = this.planted()?.neighbors(padded(this.points.x[i]!), padded(this.points.y[i]!), wanted + 1) ?? [];
    return found.filter((k) => k !== i).slice(0, wanted);
  }

  /** Moves as little as shows a point. */
  reveal(i: number): void {
    this.camera.reveal(padded(this.points.x[i]!), padded(this.points.y[i]!));
  }

  private planted(): Flatbush | null {
    const { x, y } = this.points;
    if (!this.tree && x.length) {
      this.tree = new Flatbush(x.length);
      for (let i = 0; i < x.length; i++) this.tree.add(padded(x[i]!), padded(y[i]!));
      this.tree.finish();
    }
    return this.tree;
  }

  protected override look(): string {
    return String(this.only);
  }

  protected override fade(): number {
    return this.chosen >= 0 ? 0.45 : 1;
  }

  protected override stamp(context: CanvasRenderingContext2D, size: number, scale: number, ratio: number): void {
    const { camera, points } = this;
    const background = String(context.fillStyle);
    if (this.image?.width !== size) this.image = new ImageData(size, size);
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0]!);
    const radius = ratio * this.radius();
    const left = size / 2 - camera.x * scale;
    const top = size / 2 - camera.y * scale;
    const sprites = new Map<number, Sprite>();
    const sprite = (group: number, size: number): Sprite => {
      let found = sprites.get(group);
      if (!found) sprites.set(group, (found = made(group, size, background)));
      return found;
    };
    // First those that are not asked for, so that the others lie on top.
    for (const behind of this.only === null ? [false] : [true, false]) {
      for (let i = 0; i < points.x.length; i++) {
        const group = points.group[i]!;
        if (this.only !== null && (group !== this.only) !== behind) continue;
        const x = Math.round(padded(points.x[i]!) * scale + left);
        const y = Math.round(padded(points.y[i]!) * scale + top);
        const drawn = behind ? sprite(-1, radius * 0.7) : sprite(group, radius);
        if (x < drawn.reach || y < drawn.reach || x >= size - drawn.reach || y >= size - drawn.reach) continue;
        put(pixels, size, x, y, drawn);
      }
    }
    context.putImageData(this.image, 0, 0);
  }

  protected override over(context: CanvasRenderingContext2D, side: number, colours: CSSStyleDeclaration): void {
    if (this.chosen >= 0) this.ring(context, this.chosen, side, colours, true);
    if (this.hovered >= 0 && this.hovered !== this.chosen) this.ring(context, this.hovered, side, colours, false);
  }

  /** In CSS pixels: smaller where there are many, a little larger where it is zoomed. */
  private radius(): number {
    const crowd = Math.log10(Math.max(1, this.points.x.length / 300));
    return Math.max(1.5, 3.6 - 0.95 * crowd) * Math.min(1.9, this.camera.zoom ** 0.3);
  }

  private ring(context: CanvasRenderingContext2D, i: number, side: number, colours: CSSStyleDeclaration, chosen: boolean): void {
    const { shape, colour } = mark(this.points.group[i]!);
    const r = Math.max(4, this.radius() * 1.6);
    context.save();
    context.translate(this.camera.across(padded(this.points.x[i]!), side), this.camera.down(padded(this.points.y[i]!), side));
    for (const [width, stroke] of [[5, colours.backgroundColor], [2.5, colours.color]] as const) {
      context.lineWidth = width;
      context.strokeStyle = stroke;
      context.beginPath();
      context.arc(0, 0, 2.1 * r, 0, 2 * Math.PI);
      // The one that is followed has a cross as well, so that it is found among many.
      for (const [a, b] of chosen ? [[0, 1], [1, 0], [0, -1], [-1, 0]] as const : []) {
        context.moveTo(2.1 * r * a, 2.1 * r * b);
        context.lineTo(3.1 * r * a, 3.1 * r * b);
      }
      context.stroke();
    }
    context.scale(r, r);
    context.fillStyle = colour;
    context.fill(new Path2D(shape));
    context.restore();
  }
}

function padded(value: number): number {
  return PAD + (1 - 2 * PAD) * value;
}

/** A group's shape as pixels, edged by the background so that neighbours are told apart. */
function made(group: number, radius: number, background: string): Sprite {
  const reach = Math.ceil(radius * 1.7) + 1;
  const size = 2 * reach + 1;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  const { shape, colour } = mark(group);
  context.translate(reach + 0.5, reach + 0.5);
  context.scale(radius, radius);
  const path = new Path2D(shape);
  context.strokeStyle = background;
  context.lineWidth = 1 / radius;
  context.stroke(path);
  context.fillStyle = colour;
  context.fill(path);
  const { data } = context.getImageData(0, 0, size, size);
  const kept = Array.from({ length: size * size }, (_, k) => k).filter((k) => data[4 * k + 3]! > 8);
  return {
    reach,
    dx: Int16Array.from(kept, (k) => (k % size) - reach),
    dy: Int16Array.from(kept, (k) => Math.floor(k / size) - reach),
    colour: Uint32Array.from(kept, (k) => data[4 * k]! | (data[4 * k + 1]! << 8) | (data[4 * k + 2]! << 16)),
    alpha: Uint8Array.from(kept, (k) => data[4 * k + 3]!),
  };
}

/** Lays a sprite over opaque pixels. */
function put(pixels: Uint32Array, width: number, x: number, y: number, { dx, dy, colour, alpha }: Sprite): void {
  const base = y * width + x;
  for (let k = 0; k < dx.length; k++) {
    const at = base + dy[k]! * width + dx[k]!;
    const a = alpha[k]!;
    const above = colour[k]!;
    if (a > 247) {
      pixels[at] = (0xff000000 | above) >>> 0;
      continue;
    }
    const below = pixels[at]!;
    const b = 256 - a;
    // Red and blue in one go, green in another: each keeps to its own bytes.
    const rb = (((above & 0xff00ff) * a + (below & 0xff00ff) * b) >>> 8) & 0xff00ff;
    const g = (((above & 0xff00) * a + (below & 0xff00) * b) >>> 8) & 0xff00;
    pixels[at] = (0xff000000 | rb | g) >>> 0;
  }
}
