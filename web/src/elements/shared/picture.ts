// <mg-picture n="12" alt="...">: a picture of the page, decoded when it comes near the window.

import { html, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Picture } from "../../book/format";
import { PageElement } from "./element";
import { forget, whenNear } from "./near";

@customElement("mg-picture")
export class PictureElement extends PageElement {
  @property({ type: Number }) n: number | null = null;
  @property() alt = "";
  @state() private picture: Picture | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    whenNear(this, () => void this.load());
  }

  override disconnectedCallback(): void {
    forget(this);
    super.disconnectedCallback();
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("n") && changed.get("n") !== undefined) {
      this.picture = null;
      whenNear(this, () => void this.load());
    }
  }

  async load(): Promise<void> {
    const wanted = this.n;
    if (wanted === null || !this.isConnected) return;
    const found = await this.attempt(this.book.picture(wanted));
    // A list may have let go of it meanwhile; it asks again when it is put back.
    if (this.n === wanted && this.isConnected) this.picture = found;
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const p = this.picture;
    if (!p) return html`<span class="wait" role=${this.alt ? "img" : "presentation"} aria-label=${this.alt || nothing}></span>`;
    const sharp = Math.max(p.w, p.h) <= 64;
    return html`<img class=${sharp ? "sharp" : ""} src=${p.src} width=${p.w} height=${p.h} alt=${this.alt} decoding="async">`;
  }
}

/** What stands on a tile without a picture. */
export const NO_PICTURE = html`<small class="bare">no picture</small>`;

/** A picture by its number; what to show where there is none. */
export function picture(n: number | null, alt: string, missing: unknown = nothing) {
  return n === null ? missing : html`<mg-picture .n=${n} .alt=${alt}></mg-picture>`;
}
