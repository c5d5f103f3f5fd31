// #/finding/F1: one finding with all of its evidence, and links to the units and classes that it names.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Book } from "../book/book";
import type { Finding, Group } from "../book/format";
import { PageElement } from "../elements/shared/element";
import { classLink, unitLink } from "../elements/shared/naming";
import { picture } from "../elements/shared/picture";
import { from } from "../elements/shared/quantity";
import { term } from "../elements/shared/term";
import { to } from "../router";
import { brief, number, plural, visible } from "../words";
import { nowhere, register } from "./views";

register("finding", (book, { of, query }) => {
  const given = query.get("run");
  const at = given === null ? book.index.findings.findIndex((one) => one.id === of) : book.findingAt(Number(given), of);
  const entry = book.index.findings[at];
  if (!entry) return nowhere(`This page has no finding “${brief(of)}”.`, others(book));
  return html`<header class="card-head"><p class="kicker">${entry.lead ? "A lead" : "A finding"} of <bdi><code>${brief(book.index.runs[entry.run]?.folder ?? "")}</code></bdi></p>
      <h1 tabindex="-1"><span class="id">${brief(entry.id)}</span> <bdi>${visible(entry.claim)}</bdi></h1></header>
    <mg-finding .at=${at}></mg-finding>
    ${book.index.review ? html`<section><h2>What readers think</h2><mg-review-finding .run=${entry.run} .finding=${entry.id}></mg-review-finding></section>` : nothing}
    ${book.index.findings.length > 1 ? html`<section><h2>The other findings and leads</h2>${others(book, at)}</section>` : nothing}`;
});

function others(book: Book, but = -1): TemplateResult {
  return html`<ul>${book.index.findings.map((one, i) => i === but ? nothing : html`<li><a href=${to("finding", one.id, { run: one.run || null })}><span class="id">${brief(one.id)}</span> <bdi>${brief(one.claim)}</bdi></a>
    <small>${one.lead ? "lead" : "finding"}, ${one.kind}${book.index.runs.length > 1 ? `, ${brief(book.index.runs[one.run]?.folder ?? "")}` : ""}</small></li>`)}</ul>`;
}

@customElement("mg-finding")
export class FindingView extends PageElement {
  /** The finding's number. */
  @property({ type: Number }) at = -1;
  @state() private finding: Finding | null = null;
  private of = -1;

  protected override willUpdate(): void {
    if (this.at === this.of) return;
    this.of = this.at;
    this.finding = null;
    void this.load(this.at);
  }

  private async load(at: number): Promise<void> {
    const found = (await this.attempt(this.book.item("findings", at))) as Finding | null;
    if (at === this.of) this.finding = found;
  }

  /** p, and over which claims it was corrected; as p_text in src/mulligan/reports/wording.py says it. */
  private tested(f: Finding): TemplateResult | string {
    if (f.p === null) return "No p-value applies.";
    const p = html`${term("p-value", "p")} = ${from(number(f.p), f.table)}`;
    if (f.p_adjusted === null) return html`${p}, corrected for no other claim.`;
    if (f.corrected_for === 1) return html`${p}; Holm's correction was over this one claim, and leaves it as it is.`;
    const family = f.corrected_for ? `this check's ${plural(f.corrected_for, "claim")}` : "the claims that this check froze";
    return html`${p}; after Holm's correction over ${family}, p = ${from(number(f.p_adjusted), f.table)}.`;
  }

  protected override render() {
    if (this.failed) return this.trouble();
    const f = this.finding;
    if (!f) return html`<p class="none" aria-busy="true">Decoding…</p>`;
    const causal = f.causal;
    return html`<p class="tags"><span class="tag sev ${f.severity}">${f.severity} severity</span> <span class="tag">${brief(f.kind)}</span>
        <span class="tag">${f.confidence === null ? "confidence not measured" : html`${term("confidence")} ${from(number(f.confidence, 2), f.table)}`}</span></p>
      ${this.subjects(f)}
      <section><h2>${term("effect", "Effect")} against its controls</h2>${this.evidence(f, "effect")}
        <p>${this.tested(f)}</p></section>
      <section><h2>${term("causal test", "Causal test")}</h2>
        ${causal ? html`<p><bdi>${visible(causal.edit)}</bdi></p>${this.evidence(f, "causal")}
          <h3>What the edit costs on clean data</h3>${causal.clean_before || causal.clean_after ? this.evidence(f, "clean") : html`<p class="none">Not measured.</p>`}`
          : html`<p class="none">Not measured: no edit of the network or the input was tried.</p>`}</section>
      ${f.trigger ? this.trigger(f, f.trigger) : nothing}
      ${f.where ? this.where(f, f.where) : nothing}
      <section><h2>What to do</h2><p>${f.action ? html`<bdi>${visible(f.action)}</bdi>` : html`<span class="none">No action is recorded.</span>`}</p>
        ${f.reproduce ? html`<p class="label">Reproduce it</p><pre class="command" tabindex="0" role="region" aria-label="Command that reproduces ${brief(f.id)}">${visible(f.reproduce, null)}</pre>` : nothing}</section>`;
  }

  private evidence(f: Finding, part: string): TemplateResult {
    return html`<mg-evidence .finding=${f.id} .run=${f.run} .of=${part}></mg-evidence>`;
  }

  private subjects(f: Finding): TemplateResult | typeof nothing {
    const named = (items: (string | Group)[]) => items.map((item, i) => html`${i ? ", " : ""}${typeof item === "string" ? classLink(this.book, f.network, item) : this.group(f, item)}`);
    if (!f.sources.length && !f.absent.length && f.target === null) return nothing;
    return html`<dl class="facts">${f.sources.length ? html`<div><dt>Inputs with</dt><dd>${named(f.sources)}</dd></div>` : nothing}
      ${f.absent.length ? html`<div><dt>and without</dt><dd>${named(f.absent)}</dd></div>` : nothing}
      ${f.target === null ? nothing : html`<div><dt>are answered</dt><dd>${classLink(this.book, f.network, f.target)}</dd></div>`}</dl>`;
  }

  private group(f: Finding, { name, classes }: Group): TemplateResult {
    return html`<details class="inline"><summary><bdi>${brief(name)}</bdi> (${plural(classes.length, "class", "classes")})</summary>
      ${classes.map((one, i) => html`${i ? ", " : ""}${classLink(this.book, f.network, one)}`)}</details>`;
  }

  private trigger(f: Finding, t: NonNullable<Finding["trigger"]>): TemplateResult {
    const shown = [[t.image, "trigger", `Trigger of ${brief(f.id)}: ${brief(t.description)}`], [t.mask, "mask", `Mask of the trigger of ${brief(f.id)}: where it is laid`]] as const;
    return html`<section><h2>What elicits it</h2><div class="trigger">
      ${t.image === null && t.mask === null ? nothing : html`<div class="pair">${shown.map(([n, name, alt]) => n === null ? nothing : html`<figure class="big">${picture(n, alt)}<figcaption>${name}</figcaption></figure>`)}</div>`}
      <div><p><bdi>${visible(t.description)}</bdi></p><dl class="facts"><div><dt>Family</dt><dd><bdi>${brief(t.family)}</bdi></dd></div>
        ${t.box ? html`<div><dt>Box, in input pixels</dt><dd>left ${t.box[0]}, top ${t.box[1]}, right ${t.box[2]}, bottom ${t.box[3]} (right and bottom excluded)</dd></div>` : nothing}
        ${t.generator ? html`<div><dt>Generator</dt><dd><bdi><code>${brief(t.generator)}</code></bdi></dd></div>` : nothing}</dl></div></div></section>`;
  }

  private where(f: Finding, { site, units, rows }: NonNullable<Finding["where"]>): TemplateResult {
    return html`<section><h2>Where in the network</h2><dl class="facts">
      <div><dt>Site</dt><dd>${site === null ? html`<span class="none">not located</span>` : html`<bdi><code>${brief(site)}</code></bdi>`}</dd></div>
      ${units?.length ? html`<div><dt>Units</dt><dd>${units.map((unit, i) => html`${i ? ", " : ""}${site === null ? unit : unitLink(this.book, f.network, site, unit)}`)}
        ${site !== null && units.some((unit) => !this.book.keyOf(f.network, site, unit)) ? html`<br><small>${units.some((unit) => this.book.keyOf(f.network, site, unit)) ? "Those that are no links have no card" : "They have no cards"}: no run of this page described them. <code>mulligan see</code> does.</small>` : nothing}</dd></div>` : nothing}
      ${rows?.length ? html`<div><dt>Rows of the weights</dt><dd>${rows.join(", ")}</dd></div>` : nothing}</dl></section>`;
  }
}
