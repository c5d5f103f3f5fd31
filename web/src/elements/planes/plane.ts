// A square plane, 0 to 1 each way, that is zoomed and moved: by wheel, drag, two fingers and keys.

export class Camera {
  /** What lies in the middle of the window. */
  x = 0.5;
  y = 0.5;
  /** How many times larger than when all of it is seen. */
  zoom = 1;

  constructor(readonly most = 64) {}

  /** Where a place of the plane is in a window of `side` pixels. */
  across(u: number, side: number): number {
    return (u - this.x) * side * this.zoom + side / 2;
  }

  down(v: number, side: number): number {
    return (v - this.y) * side * this.zoom + side / 2;
  }

  /** The place of the plane at a pixel of the window. */
  place(px: number, py: number, side: number): [number, number] {
    const scale = side * this.zoom;
    return [this.x + (px - side / 2) / scale, this.y + (py - side / 2) / scale];
  }

  /** Moves what is seen along by pixels. */
  drag(dx: number, dy: number, side: number): void {
    this.x -= dx / (side * this.zoom);
    this.y -= dy / (side * this.zoom);
    this.hold();
  }

  /** Zooms by a factor, and keeps the place at a pixel where it is. */
  zoomAt(factor: number, px: number, py: number, side: number): void {
    const [u, v] = this.place(px, py, side);
    this.zoom = Math.min(this.most, Math.max(1, this.zoom * factor));
    const [nu, nv] = this.place(px, py, side);
    this.x += u - nu;
    this.y += v - nv;
    this.hold();
  }

  whole(): void {
    this.x = this.y = 0.5;
    this.zoom = 1;
  }

  look(x: number, y: number, zoom = this.zoom): void {
    this.zoom = Math.min(this.most, Math.max(1, Number.isFinite(zoom) ? zoom : 1));
    this.x = Number.isFinite(x) ? x : 0.5;
    this.y = Number.isFinite(y) ? y : 0.5;
    this.hold();
  }

  /** Moves as little as shows a place, with a margin; whether it had to. */
  reveal(u: number, v: number): boolean {
    const reach = 0.45 / this.zoom;
    const before = [this.x, this.y];
    this.x = Math.min(u + reach, Math.max(u - reach, this.x));
    this.y = Math.min(v + reach, Math.max(v - reach, this.y));
    this.hold();
    return this.x !== before[0] || this.y !== before[1];
  }

  private hold(): void {
    const half = 0.5 / this.zoom;
    this.x = Math.min(1 - half, Math.max(half, this.x));
    this.y = Math.min(1 - half, Math.max(half, this.y));
  }
}

export interface Steered {
  camera: Camera;
  /** After each step of a gesture. */
  moved(): void;
  /** A click or tap that was no drag, in pixels of the window. */
  tapped(px: number, py: number): void;
}

const STEP = 0.15;
const ZOOM = 1.5;
const STILL = 5; // pixels that a click may wander

/** What keys do to a plane; false: this key does nothing. */
export function pressed(camera: Camera, key: string, side: number): boolean {
  const middle = side / 2;
  if (key === "+" || key === "=") camera.zoomAt(ZOOM, middle, middle, side);
  else if (key === "-" || key === "_") camera.zoomAt(1 / ZOOM, middle, middle, side);
  else if (key === "0") camera.whole();
  else if (key === "ArrowLeft") camera.drag(STEP * side, 0, side);
  else if (key === "ArrowRight") camera.drag(-STEP * side, 0, side);
  else if (key === "ArrowUp") camera.drag(0, STEP * side, side);
  else if (key === "ArrowDown") camera.drag(0, -STEP * side, side);
  else return false;
  return true;
}

export const KEYS = "Plus and minus zoom, the arrow keys move it, zero shows all of it.";

/** Lets a focusable element steer a camera. The wheel scrolls the page unless the plane has been chosen, or Ctrl is held. */
export function steer(target: HTMLElement, steered: Steered): () => void {
  const fingers = new Map<number, { x: number; y: number }>();
  const ended = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(name: K, act: (event: HTMLElementEventMap[K]) => void, passive = true): void =>
    target.addEventListener(name, act as EventListener, { signal: ended.signal, passive });
  const side = (): number => target.clientWidth || 1;
  const camera = steered.camera;
  let wandered = 0;

  const done = (): void => {
    // A finger that moves up or down scrolls the page, as long as there is nothing to be moved in the plane.
    target.style.touchAction = camera.zoom > 1 ? "none" : "pan-y";
    steered.moved();
  };
  target.style.touchAction = camera.zoom > 1 ? "none" : "pan-y";

  on("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== target) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    camera.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY, side());
    done();
  }, false);
  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    target.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    if (fingers.size === 1) wandered = 0;
  });
  on("pointermove", (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = { x: event.offsetX, y: event.offsetY };
    wandered += Math.abs(to.x - from.x) + Math.abs(to.y - from.y);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      wandered = STILL + 1;
      const apart = (p: { x: number; y: number }): number => Math.hypot(p.x - other.x, p.y - other.y) || 1;
      camera.zoomAt(apart(to) / apart(from), (to.x + other.x) / 2, (to.y + other.y) / 2, side());
      camera.drag((to.x - from.x) / 2, (to.y - from.y) / 2, side());
    } else if (wandered > STILL) camera.drag(to.x - from.x, to.y - from.y, side());
    fingers.set(event.pointerId, to);
    if (wandered > STILL) done();
  });
  on("pointerup", (event) => {
    if (fingers.delete(event.pointerId) && !fingers.size && wandered <= STILL) steered.tapped(event.offsetX, event.offsetY);
  });
  on("pointercancel", (event) => fingers.delete(event.pointerId));
  on("dblclick", (event) => {
    camera.zoomAt(2, event.offsetX, event.offsetY, side());
    done();
  });
  on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !pressed(camera, event.key, side())) return;
    event.preventDefault();
    done();
  }, false);
  return () => ended.abort();
}
