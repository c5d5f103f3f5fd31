// Findings and leads that name a class or a unit, for its card.

import { html, nothing, type TemplateResult } from "lit";
import type { Book } from "../../book/book";
import type { Finding } from "../../book/format";
import { to } from "../../router";
import { brief, visible } from "../../words";

export async function findingsOf(book: Book): Promise<Finding[]> {
  return (await book.items("findings", 0, book.index.findings.length)) as Finding[];
}

export function namesClass({ sources, absent, target }: Finding, name: string): boolean {
  return target === name || [...sources, ...absent].some((one) => (typeof one === "string" ? one === name : one.classes.includes(name)));
}

export function namesUnit({ where }: Finding, site: string, unit: number | null): boolean {
  return where?.site === site && unit !== null && (where.units ?? []).includes(unit);
}

export function namedBy(book: Book, found: Finding[], what: "class" | "unit"): TemplateResult | typeof nothing {
  if (!found.length) return nothing;
  return html`<section><h2>Findings and leads that name this ${what}</h2><ul>${found.map((f) => html`<li>
    <a href=${to("finding", f.id, { run: f.run || null })}><span class="id">${brief(f.id)}</span> <bdi>${visible(f.claim)}</bdi></a>
    <small>${f.lead ? "lead" : "finding"}${book.index.runs.length > 1 ? html`, <bdi>${brief(book.index.runs[f.run]?.folder ?? "")}</bdi>` : nothing}</small></li>`)}</ul></section>`;
}
