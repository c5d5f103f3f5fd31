// <mg-review-feature key="blocks.5:12">: what readers say of a feature, one's own label first, and others' only then.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { ReviewElement } from "./element";
import { brief, visible } from "../words";
import { Conflict, type FeatureState, type Reviews, type Said } from "./client";
import { needed } from "./identity";
import { wear } from "./style";

const STATES: Record<string, string> = {
  none: "Nobody has labelled it yet.",
  one: "One reader has labelled it.",
  agreed: "The readers agree.",
  resolved: "The readers differed; a third settled it.",
  disputed: "The readers differ.",
};

@customElement("mg-review-feature")
export class ReviewFeature extends ReviewElement {
  @property() key = "";
  /** Whether a saved label leads on, to the next of the queue. */
  @property({ attribute: false }) saved: (() => void) | null = null;
  @state() private now: FeatureState | null = null;
  @state() private busy = false;
  @state() private complaint = "";
  /** What was typed and could not be written: it stays in its fields. */
  private typed: { settling: boolean; text: string; note: string } | null = null;
  private of = "";

  protected override willUpdate(): void {
    if (this.of === this.key || !this.reviews) return;
    this.of = this.key;
    this.now = null;
    this.typed = null;
    this.complaint = "";
    void this.load();
  }

  protected override async load(): Promise<void> {
    const wanted = this.key;
    const found = await this.attempt(this.reviews!.feature(wanted));
    if (wanted === this.key) this.now = found;
  }

  protected override render() {
    const reviews = this.reviews;
    if (!reviews) return nothing;
    wear();
    if (this.failed) return this.trouble();
    const now = this.now;
    if (!now) return html`<p class="none">Asking the server…</p>`;
    return html`${needed(reviews)}
      ${reviews.writable && reviews.token && reviews.reader ? this.form(now) : nothing}
      ${this.complaint ? html`<p class="rv-trouble" role="alert">${visible(this.complaint)}</p>` : nothing}
      ${now.hidden ? this.blind(now) : this.open(now)}`;
  }

  private form(now: FeatureState): TemplateResult {
    const typed = this.typed?.settling ? null : this.typed;
    return html`<form class="rv-form" @submit=${this.save}>
      <label for="rv-text">${now.mine ? "Your label, to change" : "Your label"}</label>
      <input id="rv-text" name="text" type="text" maxlength="300" autocomplete="off" .value=${typed?.text ?? now.mine?.text ?? ""} aria-describedby="rv-how">
      <small id="rv-how">What do the pictures have in common? A few plain words.</small>
      <label for="rv-note">Note <small>(if there is more to say)</small></label>
      <textarea id="rv-note" name="note" rows="2" maxlength="2000" .value=${typed?.note ?? now.mine?.note ?? ""}></textarea>
      <div class="rv-line"><button class="main" ?disabled=${this.busy}>${now.mine ? "Change" : "Save"}</button>
        <button type="button" ?disabled=${this.busy} @click=${this.cannotTell}>I cannot tell</button></div>
    </form>`;
  }

  private blind(now: FeatureState): TemplateResult {
    const others = now.reader && !now.waiting.includes(now.reader) ? "" : "You are to read it on your own: ";
    return now.reader
      ? html`<p class="none">${others}what others say is shown once you have said what you see.</p>`
      : html`<p class="none">Others are still reading this feature; labels are shown once they are done, or once you say who you are.</p>`;
  }

  private open(now: FeatureState): TemplateResult {
    const stands = now.resolution;
    return html`<p>${now.state === "none" || now.state === "one" ? nothing : html`<span class="rv-word ${now.state ?? ""}">${now.state}</span> `}${STATES[now.state ?? "none"]}
        ${now.waiting.length ? html`<small>Still to be read by ${now.waiting.map((name) => brief(name)).join(", ")}.</small>` : nothing}</p>
      <ul class="rv-said">
        ${stands ? html`<li class="stands">${said(stands, stands.same ? "judges that they say the same" : "settled it")}</li>` : nothing}
        ${now.labels.map((label) => html`<li>${said(label)}</li>`)}
      </ul>
      ${now.history.length ? html`<details><summary>${now.history.length} earlier</summary>
        <ul class="rv-said">${now.history.map((label) => html`<li>${said(label)}</li>`)}</ul></details>` : nothing}
      ${now.state === "disputed" && !now.mine && this.reviews?.token && now.reader ? this.settling(now) : nothing}
      ${now.state === "disputed" && now.mine ? html`<p>To agree, change your label. A third reader may settle it otherwise.</p>` : nothing}`;
  }

  private settling(now: FeatureState): TemplateResult {
    const typed = this.typed?.settling ? this.typed : null;
    return html`<form class="rv-form" @submit=${this.settle}>
      <label for="rv-wording">Settle it: the wording that stands</label>
      <input id="rv-wording" name="text" type="text" maxlength="300" list="rv-texts" autocomplete="off" required .value=${typed?.text ?? now.labels[0]?.text ?? ""}>
      <datalist id="rv-texts">${now.labels.map((label) => html`<option value=${label.text}></option>`)}</datalist>
      <label><input type="checkbox" name="same"> The labels say the same in other words</label>
      <label for="rv-why">Why</label>
      <textarea id="rv-why" name="note" rows="2" maxlength="2000" .value=${typed?.note ?? ""}></textarea>
      <div class="rv-line"><button ?disabled=${this.busy}>Settle</button></div>
    </form>`;
  }

  private readonly save = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const text = String(form.get("text")).trim();
    if (!text) {
      this.complaint = "Write a label, or say that you cannot tell.";
      return;
    }
    this.typed = { settling: false, text, note: String(form.get("note")) };
    void this.send((reviews, now) => reviews.label(this.key, text, String(form.get("note")), now.revision), true);
  };

  private readonly cannotTell = (event: Event): void => {
    const form = new FormData((event.target as HTMLElement).closest("form")!);
    void this.send((reviews, now) => reviews.label(this.key, "", String(form.get("note")), now.revision), true);
  };

  private readonly settle = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const [text, note, same] = [String(form.get("text")), String(form.get("note")), form.has("same")];
    this.typed = { settling: true, text, note };
    void this.send((reviews, now) => reviews.resolve(this.key, text, note, same, now.settled_by ?? 0), false);
  };

  private async send(write: (reviews: Reviews, now: FeatureState) => Promise<FeatureState>, leads: boolean): Promise<void> {
    this.busy = true;
    this.complaint = "";
    try {
      this.now = await write(this.reviews!, this.now!);
      this.typed = null;
      if (leads) this.saved?.();
    } catch (error) {
      if (error instanceof Conflict) this.now = { ...this.now!, ...(error.current as FeatureState) };
      this.complaint = error instanceof Error ? error.message : String(error);
    } finally {
      this.busy = false;
    }
  }
}

/** A label with its author and time; "" is "cannot tell". */
export function said(label: Said, what = ""): TemplateResult {
  const text = label.text ? html`<b><bdi>${visible(label.text)}</bdi></b>` : html`<i>cannot tell</i>`;
  const when = html`<time datetime=${label.at}>${label.at.slice(0, 16).replace("T", " ")}</time>`;
  return html`${text} <small><bdi>${brief(label.author)}</bdi>${what ? ` ${what}` : ""}, ${when}${label.blind ? ", read alone" : nothing}</small>${label.note ? html`<br><bdi>${visible(label.note)}</bdi>` : nothing}`;
}
