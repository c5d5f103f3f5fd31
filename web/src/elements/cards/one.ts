// What the cards of features and of classes share: the card of number `at` is decoded, with the findings that name it.

import { property, state } from "lit/decorators.js";
import type { Finding } from "../../book/format";
import { PageElement } from "../shared/element";
import { whenIdle } from "../shared/idle";
import { findingsOf } from "../shared/named";
import type { PictureElement } from "../shared/picture";

export abstract class OneCard<Card> extends PageElement {
  /** The number of the feature or class. */
  @property({ type: Number }) at = -1;
  @state() protected card: Card | null = null;
  @state() protected findings: Finding[] = [];
  private of = -1;

  protected abstract decode(at: number): Promise<Card>;
  /** Whether a finding is about what the card is of. */
  protected abstract named(finding: Finding, card: Card): boolean;

  protected override willUpdate(): void {
    if (this.at === this.of) return;
    this.of = this.at;
    this.card = null;
    this.failed = "";
    void this.load(this.at);
  }

  private async load(at: number): Promise<void> {
    const found = await this.attempt(Promise.all([this.decode(at), findingsOf(this.book)]));
    if (at !== this.of || !found) return;
    const [card, findings] = found;
    [this.card, this.findings] = [card, findings.filter((finding) => this.named(finding, card))];
  }

  /** Pictures further down are decoded when there is time: who prints the page wants to see them. */
  protected override updated(): void {
    if (this.card) whenIdle(() => this.querySelectorAll<PictureElement>("mg-picture").forEach((shown) => void shown.load()));
  }
}
