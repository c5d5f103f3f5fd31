// A canvas that shows part of a plane, and is moved smoothly on a computer without a graphics card.
//
// What it shows is drawn into a bitmap that is twice as wide and high as the window. Moving shows another part of the
// bitmap, which costs a copy; it is drawn again only when its edge comes into sight or a zoom has settled.

import { dark } from "./marks";
import type { Camera } from "./plane";

const SETTLED = 90; // milliseconds after which a zoom has ended
const STRETCHED = 4; // times that a bitmap is enlarged at most meanwhile

export abstract class Surface {
  private readonly bitmap = document.createElement("canvas");
  private drawn = { x: 0, y: 0, zoom: 0, side: 0, look: "" };
  private waiting = 0;
  private frame = 0;

  constructor(readonly canvas: HTMLCanvasElement, readonly camera: Camera) {}

  /** Draws what lies in the bitmap: a square of `size` pixels around the camera's place, `scale` pixels to the plane. */
  protected abstract stamp(context: CanvasRenderingContext2D, size: number, scale: number, ratio: number): void;
  /** Draws what changes often, on top of it, in pixels of the window. */
  protected abstract over(context: CanvasRenderingContext2D, side: number, colours: CSSStyleDeclaration): void;
  /** What the bitmap hangs on, besides place and zoom. */
  protected abstract look(): string;
  /** How strongly the bitmap is seen. */
  protected fade(): number {
    return 1;
  }

  /** Draws before the next frame. */
  readonly draw = (): void => {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  };

  /** Forgets the bitmap, since something in it has changed. */
  stale(): void {
    this.drawn.side = 0;
    this.draw();
  }

  private paint(): void {
    const css = this.canvas.clientWidth;
    if (!css) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const side = Math.round(css * ratio);
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    const { camera } = this;
    const look = `${this.look()} ${dark.matches}`;
    const fresh = this.drawn.side === side && this.drawn.look === look && this.covered(side);
    if (!fresh || camera.zoom / this.drawn.zoom > STRETCHED) this.redraw(side, ratio, look);
    else if (this.drawn.zoom !== camera.zoom) {
      clearTimeout(this.waiting);
      this.waiting = window.setTimeout(() => this.stale(), SETTLED);
    }
    const context = this.canvas.getContext("2d", { alpha: false })!;
    const colours = getComputedStyle(this.canvas);
    context.fillStyle = colours.backgroundColor;
    context.fillRect(0, 0, side, side);
    const scale = camera.zoom / this.drawn.zoom;
    const size = 2 * side * scale;
    const left = (this.drawn.x - camera.x) * side * camera.zoom + side / 2 - size / 2;
    const top = (this.drawn.y - camera.y) * side * camera.zoom + side / 2 - size / 2;
    context.globalAlpha = this.fade();
    if (scale === 1) context.drawImage(this.bitmap, Math.round(left), Math.round(top));
    else context.drawImage(this.bitmap, left, top, size, size);
    context.globalAlpha = 1;
    context.save();
    context.scale(ratio, ratio);
    this.over(context, css, colours);
    context.restore();
  }

  private redraw(side: number, ratio: number, look: string): void {
    const size = 2 * side;
    if (this.bitmap.width !== size) this.bitmap.width = this.bitmap.height = size;
    const { x, y, zoom } = this.camera;
    this.drawn = { x, y, zoom, side, look };
    const context = this.bitmap.getContext("2d", { alpha: false, willReadFrequently: true })!;
    context.fillStyle = getComputedStyle(this.canvas).backgroundColor;
    context.fillRect(0, 0, size, size);
    this.stamp(context, size, side * zoom, ratio);
  }

  /** Whether the bitmap reaches as far as the window, where the plane does. */
  private covered(side: number): boolean {
    const { drawn, camera } = this;
    const half = 0.5 / camera.zoom;
    const reach = 1 / drawn.zoom;
    const slack = 1 / (side * drawn.zoom);
    const within = (centre: number, middle: number): boolean =>
      (centre - half >= middle - reach - slack || middle - reach <= 0) && (centre + half <= middle + reach + slack || middle + reach >= 1);
    return within(camera.x, drawn.x) && within(camera.y, drawn.y);
  }
}
