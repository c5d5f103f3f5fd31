// What the elements of reviewing share: they ask again when a reader has said who they are.

import { PageElement } from "../elements/shared/element";
import { IDENTITY, type Reviews } from "./client";
import { reviewsOf } from "./identity";

export abstract class ReviewElement extends PageElement {
  private readonly known = (): void => {
    if (this.hasUpdated && this.reviews) void this.load();
  };

  protected get reviews(): Reviews | null {
    return reviewsOf(this.book);
  }

  /** Asks the server what it shows. */
  protected abstract load(): Promise<void>;

  override connectedCallback(): void {
    super.connectedCallback();
    window.addEventListener(IDENTITY, this.known);
  }

  override disconnectedCallback(): void {
    window.removeEventListener(IDENTITY, this.known);
    super.disconnectedCallback();
  }
}
