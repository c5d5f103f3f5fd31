// <mg-review-finding run="0" finding="F1">: what readers think of a finding, and why.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { brief, visible } from "../words";
import { Conflict, type VerdictState } from "./client";
import { ReviewElement } from "./element";
import { wear } from "./style";

const WORDS = ["confirmed", "rejected", "unsure"];

@customElement("mg-review-finding")
export class ReviewFinding extends ReviewElement {
  @property({ type: Number }) run = 0;
  @property() finding = "";
  @state() private now: VerdictState | null = null;
  @state() private busy = false;
  @state() private complaint = "";
  private of = "";

  protected override willUpdate(): void {
    const of = `${this.run}/${this.finding}`;
    if (this.of === of || !this.reviews) return;
    this.of = of;
    this.now = null;
    void this.load();
  }

  protected override async load(): Promise<void> {
    this.now = await this.attempt(this.reviews!.finding(this.run, this.finding));
  }

  protected override render() {
    const reviews = this.reviews;
    if (!reviews) return nothing;
    wear();
    if (this.failed) return this.trouble();
    const now = this.now;
    if (!now) return html`<p class="none">Asking the server…</p>`;
    return html`<ul class="rv-said">${now.verdicts.map((one) => html`<li><b>${one.verdict}</b> <small><bdi>${brief(one.author)}</bdi>,
        <time datetime=${one.at}>${one.at.slice(0, 16).replace("T", " ")}</time></small><br><bdi>${visible(one.reason)}</bdi>
        ${one.of_this_claim ? nothing : html`<br><small>Given when the claim read otherwise.</small>`}</li>`)}</ul>
      ${reviews.writable && !(reviews.token && reviews.reader) ? html`<p class="none">To judge it, say who you are in <a href="#/review">the review queue</a>.</p>` : nothing}
      ${reviews.writable && reviews.token && reviews.reader ? this.form(now) : nothing}
      ${this.complaint ? html`<p class="rv-trouble" role="alert">${visible(this.complaint)}</p>` : nothing}`;
  }

  private form(now: VerdictState): TemplateResult {
    const id = `rv-${this.run}-${this.finding}`;
    return html`<form class="rv-form" @submit=${this.send}>
      <fieldset class="rv-verdict"><legend>${now.revision ? "Your verdict, to change" : "Your verdict"}</legend>
        ${WORDS.map((word) => html`<label><input type="radio" name="verdict" value=${word} required> ${word}</label>`)}</fieldset>
      <label for=${id}>Why</label>
      <textarea id=${id} name="reason" rows="2" maxlength="2000" required></textarea>
      <div class="rv-line"><button ?disabled=${this.busy}>Save</button></div></form>`;
  }

  private readonly send = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const data = new FormData(form);
    this.busy = true;
    this.complaint = "";
    try {
      this.now = await this.reviews!.verdict(
        this.run, this.finding, String(data.get("verdict")), String(data.get("reason")), this.now!.revision,
      );
      form.reset();
    } catch (error) {
      if (error instanceof Conflict) this.now = error.current as VerdictState;
      this.complaint = error instanceof Error ? error.message : String(error);
    } finally {
      this.busy = false;
    }
  };
}
