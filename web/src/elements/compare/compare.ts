// <mg-compare a="0" b="1">: two audits, or two networks, side by side: verdicts, findings, figures, classes, units. A disc is
// the first, a square the second.
//
// a, b: which two, counted from 0: audits in the order of the page's runs, then networks without one.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Finding, Quantity, Reference } from "../../book/format";
import { amend, to } from "../../router";
import { brief, number, plural, shown, visible } from "../../words";
import { Axis, sign, ticks, track, type Mark } from "../charts/chart";
import { difference, overlap, pairedClasses, pairedFigures, pairedFindings, sharedUnits, sides, type Paired, type Recalls, type Side } from "./compare_match";
import { PageElement } from "../shared/element";
import { byItself } from "../shared/itself";
import { near } from "../shared/near";
import { networkName } from "../shared/networks";
import { picture } from "../shared/picture";
import { from, quantity } from "../shared/quantity";

const MORE = 20;

interface Check {
  state: string;
  smallest: Quantity | null;
  table: Reference;
}

@customElement("mg-compare")
export class CompareElement extends PageElement {
  @property({ type: Number }) a = 0;
  @property({ type: Number }) b = 1;
  /** Whether the two that are compared stand in the address. */
  @property({ type: Boolean }) addressed = false;
  @state() private there = false;
  @state() private findings: Finding[] = [];
  @state() private recalls = new Map<number, Recalls>();
  private checks = new Map<number, Map<string, Check>>();
  @state() private classes = MORE;
  @state() private units = MORE;

  protected override firstUpdated(): void {
    void this.attempt(this.load());
  }

  private async load(): Promise<void> {
    await near(this);
    this.findings = (await this.book.items("findings", 0, this.book.index.series.findings?.n ?? 0)) as Finding[];
    this.recalls = new Map(await Promise.all(this.book.index.runs.map(async (run, k) => [k, await this.recall(run.id)] as const)));
    this.checks = new Map(await Promise.all(this.book.index.runs.map(async (run, k) => [k, await this.looked(run.id)] as const)));
    this.there = true;
  }

  /** How hard each check of an audit looked, by its name, from the run's table. */
  private async looked(run: string): Promise<Map<string, Check>> {
    const table = this.book.table(`${run}-checks`);
    if (!table) return new Map();
    const rows = (await this.book.items(`table:${table.id}`, 0, table.n)) as unknown[][];
    const at = (key: string): number => table.columns.findIndex((column) => column.key === key);
    return new Map(rows.map((row) => {
      const name = String(row[at("name")]);
      return [name, { state: String(row[at("state")]), smallest: row[at("smallest")] as Quantity | null, table: [table.id, name] }];
    }));
  }

  /** How each class of an audit is answered, by its name, from the run's table. */
  private async recall(run: string): Promise<Recalls> {
    const table = this.book.table(`${run}-classes`);
    if (!table) return new Map();
    const [rows, keys] = await Promise.all([this.book.items(`table:${table.id}`, 0, table.n), this.book.items(`keys:${table.id}`, 0, table.n)]);
    const [name, recall] = ["name", "recall"].map((key) => table.columns.findIndex((column) => column.key === key)) as [number, number];
    return new Map((rows as unknown[][]).map((row, k) => {
      const at = this.book.class(String(row[name]));
      return [at < 0 ? String(row[name]) : this.book.index.classes.name[at]!, [row[recall] as Quantity | null, [table.id, String(keys[k])] as Reference]];
    }));
  }

  protected override render() {
    if (this.failed) return this.trouble();
    if (!this.there) return nothing;
    const every = sides(this.book);
    if (every.length < 2) return html`<p class="none">There is one network on this page, and one audit at most: nothing to lay beside it.</p>`;
    const [a, b] = [every[this.a] ?? every[0]!, every[this.b] ?? every[1]!];
    return html`${every.length > 2 ? this.choosers(every) : nothing}
      ${this.heads(a, b)}${this.cautions(a, b)}
      ${a.run !== null && b.run !== null ? html`${this.found(a.run, b.run)}${this.figures(a.run, b.run)}${this.recalled(a.run, b.run)}`
        : html`<p class="missing">${[a, b].filter(({ run }) => run === null).map(({ network }) => networkName(this.book, network)).join(" and ")} has no audit on this page, so that verdicts, findings and figures cannot be laid side by side.</p>`}
      ${this.shared(a, b)}${byItself(this.addressed, "compare", "", { a: this.a || null, b: this.b === 1 ? null : this.b })}`;
  }

  private name({ network, run }: Side): string {
    const several = sides(this.book).filter((side) => side.network === network).length > 1;
    return `${networkName(this.book, network)}${several && run !== null ? `, ${brief(this.book.index.runs[run]!.folder)}` : ""}`;
  }

  private choosers(every: Side[]): TemplateResult {
    const choose = (side: "a" | "b") => (event: Event): void => {
      this[side] = Number((event.target as HTMLSelectElement).value);
      this.classes = this.units = MORE;
      if (this.addressed) amend({ a: this.a, b: this.b });
    };
    return html`<div class="controls">${(["a", "b"] as const).map((side) => html`<label class="search">${side === "a" ? "First" : "Second"}
      <select @change=${choose(side)}>${every.map((one, k) => html`<option value=${k} ?selected=${k === this[side]}>${this.name(one)}</option>`)}</select></label>`)}</div>`;
  }

  private heads(a: Side, b: Side): TemplateResult {
    const { networks, runs } = this.book.index;
    const rows: [string, (side: Side) => unknown][] = [
      ["Verdict", ({ run }) => {
        const audit = run === null ? null : runs[run]!.audit;
        return audit ? html`<span class="tag verdict-word ${audit.verdict}">${audit.word}</span> ${visible(audit.headline)}` : html`<span class="none">not audited here</span>`;
      }],
      ["Weights and architecture", ({ network }) => html`<bdi><code>${brief(networks[network]!.identity)}</code></bdi>`],
      ["Parameters", ({ network }) => number(networks[network]!.parameters)],
      ["Classes", ({ network }) => (networks[network]!.classes === null ? html`<span class="none">none named</span>` : number(networks[network]!.classes))],
      ["Data", ({ run }) => {
        const audit = run === null ? null : runs[run]!.audit;
        return audit ? html`<bdi>${brief(audit.data.source)}</bdi>, ${plural(audit.data.n, "example")}` : html`<span class="none">none</span>`;
      }],
      ["Run", ({ run }) => (run === null ? html`<span class="none">none</span>` : html`<bdi><code>${brief(runs[run]!.folder)}</code></bdi>, ${brief(runs[run]!.created)}`)],
      ["Problems", ({ run }) => (run === null || !runs[run]!.problems.length ? "none" : runs[run]!.problems.map((problem) => html`<bdi>${visible(problem)}</bdi> `))],
    ];
    return html`<div class="scroll" tabindex="0" role="region" aria-label="The two, side by side"><table class="sides">
      <thead><tr><td></td><th scope="col">${sign("main")}<bdi>${this.name(a)}</bdi></th><th scope="col">${sign("baseline")}<bdi>${this.name(b)}</bdi></th></tr></thead>
      <tbody>${rows.map(([what, cell]) => html`<tr><th scope="row">${what}</th><td>${cell(a)}</td><td>${cell(b)}</td></tr>`)}</tbody></table></div>`;
  }

  /** What makes the two hard to compare. */
  private cautions(a: Side, b: Side): TemplateResult | typeof nothing {
    const { networks, runs, classes } = this.book.index;
    const audit = ({ run }: Side) => (run === null ? null : runs[run]!.audit);
    const names = (of: number): Set<string> => new Set(classes.name.filter((_, i) => classes.network[i] === of));
    const [mine, other] = [names(a.network), names(b.network)];
    const common = [...mine].filter((name) => other.has(name)).length;
    const said = [
      a.network === b.network ? "The same weights and architecture in both: differences are of the runs, their data and their budgets." : "",
      a.network !== b.network && networks[a.network]!.parameters !== networks[b.network]!.parameters ? "The two have different numbers of parameters: their layers are not the same." : "",
      audit(a) && audit(b) && audit(a)!.data.identity !== audit(b)!.data.identity ? "They were audited on different data: figures may differ for that reason alone." : "",
      a.network !== b.network && mine.size && other.size && (common < mine.size || common < other.size) ? `They share ${plural(common, "class name")} of ${number(mine.size)} and ${number(other.size)} that this page knows.` : "",
    ].filter(Boolean);
    return said.length ? html`<ul class="notes">${said.map((one) => html`<li>${one}</li>`)}</ul>` : nothing;
  }

  private found(a: number, b: number): TemplateResult {
    const of = (run: number): Finding[] => this.findings.filter((finding) => finding.run === run);
    const pairs = pairedFindings(of(a), of(b));
    const part = (title: string, items: Paired[]) => (items.length ? html`<h4>${title}</h4>${items.map((one) => this.pair(one))}` : nothing);
    return html`<h3>Findings and leads</h3>
      ${pairs.length ? html`${part("In both", pairs.filter((p) => p.a && p.b))}${part("Only in the first", pairs.filter((p) => !p.b))}${part("Only in the second", pairs.filter((p) => !p.a))}
        <p class="left">What only one audit found may be in the other network, too: an audit finds what it looks for, to the power that it had.</p>`
        : html`<p class="none">Neither audit found anything. That says what was looked for was not found in either, not that they are alike.</p>`}
      ${this.searched(a, b)}`;
  }

  private searched(a: number, b: number): TemplateResult | typeof nothing {
    const [mine, other] = [this.checks.get(a) ?? new Map<string, Check>(), this.checks.get(b) ?? new Map<string, Check>()];
    const names = [...new Set([...mine.keys(), ...other.keys()])];
    if (!names.length) return nothing;
    const cell = (check: Check | undefined): TemplateResult => check
      ? html`${brief(check.state)}${check.smallest ? html`<br><small>smallest effect caught:</small> ${quantity(check.smallest, check.table)}` : nothing}`
      : html`<span class="none">not among its checks</span>`;
    return html`<details><summary>How hard each looked: ${plural(names.length, "check")}</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="How hard each looked"><table>
        <thead><tr><th scope="col">Check</th><th scope="col">${sign("main")}first</th><th scope="col">${sign("baseline")}second</th></tr></thead>
        <tbody>${names.map((name) => html`<tr><th scope="row"><bdi>${brief(name)}</bdi></th><td>${cell(mine.get(name))}</td><td>${cell(other.get(name))}</td></tr>`)}</tbody></table></div></details>`;
  }

  private pair({ kind, a, b }: Paired): TemplateResult {
    const one = (a ?? b)!;
    const named = (finding: Finding, role: Mark["role"]) => html`${sign(role)}<a href=${to("finding", finding.id, { run: finding.run || null })}><span class="id">${brief(finding.id)}</span></a> ${finding.lead ? "lead" : finding.severity}`;
    return html`<div class="paired"><p><bdi>${visible(one.claim)}</bdi> <span class="tag">${brief(kind)}</span></p>
      <p>${a ? named(a, "main") : nothing} ${b ? named(b, "baseline") : nothing}</p>
      ${this.row("Effect", a?.effect ?? null, b?.effect ?? null, a?.table ?? null, b?.table ?? null, !(a && b))}</div>`;
  }

  /** Two quantities on one axis, in words as well. `alone`: nothing is to be said of their intervals. */
  private row(name: string, a: Quantity | null, b: Quantity | null, ta: Reference | null, tb: Reference | null, alone = false): TemplateResult {
    const given = [a, b].flatMap((q) => (q ? [q] : []));
    if (!given.length) return html`<p class="none">${visible(name, 200)}: not measured.</p>`;
    const same = new Set(given.map(({ unit }) => unit)).size === 1;
    const axis = Axis.of(given.flatMap((q) => [q.value, q.low, q.high]), given.every(({ value }) => value >= 0 && value <= 1) && /^(share|fraction|accuracy|probability|proportion|recall)/i.test(given[0]!.unit));
    const marks = (q: Quantity | null, role: Mark["role"]): Mark[] => (q ? [{ role, ...q }] : []);
    return html`<div class="versus"><span class="what">${visible(name, 200)}</span>
      ${same ? html`<div>${track(axis, marks(a, "main"))}${track(axis, marks(b, "baseline"))}${ticks(axis)}</div>` : html`<p class="none">measured in different units</p>`}
      <div class="says">${a || !alone ? html`<div>${sign("main")}${quantity(a, ta)}</div>` : nothing}${b || !alone ? html`<div>${sign("baseline")}${quantity(b, tb)}</div>` : nothing}${alone || !same ? nothing : html`<small>${apart(a, b)}</small>`}</div></div>`;
  }

  private figures(a: number, b: number): TemplateResult | typeof nothing {
    const { runs } = this.book.index;
    const pairs = pairedFigures(runs[a]!.audit!.figures, runs[b]!.audit!.figures);
    if (!pairs.length) return nothing;
    return html`<h3>Figures</h3>
      <p class="left">Overlapping intervals do not show that two figures are equal, and of many figures some differ by chance.</p>
      ${pairs.map(({ name, a, b }) => this.row(name, a?.shown ?? null, b?.shown ?? null, a?.table ?? null, b?.table ?? null))}`;
  }

  private recalled(a: number, b: number): TemplateResult | typeof nothing {
    const rows = pairedClasses(this.recalls.get(a) ?? new Map(), this.recalls.get(b) ?? new Map());
    if (!rows.length) return nothing;
    const axis = new Axis([0, 0.25, 0.5, 0.75, 1]);
    const mark = (q: Quantity | null, role: Mark["role"]): Mark[] => (q ? [{ role, ...q }] : []);
    const cell = (q: Quantity | null, table: Reference | null): TemplateResult => {
      if (!q) return quantity(null);
      const { value, interval, n } = shown(q);
      return html`<span class="ci">${from(html`<b>${value}</b> ${interval}`, table)}</span> <small class="ci">${n}</small>`;
    };
    return html`<h3>Classes</h3><p>Recall of each class that both name, the largest difference first. Of many classes, some of the largest differences are due to chance.</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Recall of each class"><table class="links-table">
        <thead><tr><th scope="col">Class</th><th scope="col" class="chart">${sign("main")}first ${sign("baseline")}second${ticks(axis)}</th><th scope="col">First</th><th scope="col">Second</th><th scope="col">Second less first</th><th scope="col">Intervals</th></tr></thead>
        <tbody>${rows.slice(0, this.classes).map((row) => html`<tr><th scope="row"><bdi>${brief(row.name)}</bdi></th>
          <td class="chart">${track(axis, mark(row.a, "main"), 18)}${track(axis, mark(row.b, "baseline"), 18)}</td>
          <td>${cell(row.a, row.tables[0])}</td><td>${cell(row.b, row.tables[1])}</td><td class="num">${row.a && row.b ? number(difference(row), 2) : quantity(null)}</td><td>${apart(row.a, row.b)}</td></tr>`)}</tbody></table></div>
      ${rows.length > this.classes ? html`<button type="button" class="chip" @click=${() => { this.classes += 100; }}>Show more of ${plural(rows.length, "class", "classes")}</button>` : nothing}`;
  }

  /** Units of one alias: pictures of both, as far as this page has them. */
  private shared(a: Side, b: Side): TemplateResult | typeof nothing {
    if (a.network === b.network) return nothing;
    const { features, sites } = this.book.index;
    const common = [...new Set(sites.name.filter((_, k) => sites.network[k] === a.network))].filter((name) => sites.name.some((other, k) => other === name && sites.network[k] === b.network));
    const pairs = sharedUnits(this.book, a.network, b.network);
    if (!common.length) return html`<h3>Units</h3><p class="none">The two have no site of one name on this page: their units cannot be laid side by side.</p>`;
    const one = (i: number, side: Side, role: Mark["role"]): TemplateResult => {
      const words = [features.label[i], features.selective.of[i] === null ? null : `selective for ${features.selective.names[features.selective.of[i]!]}`].filter(Boolean).map((text) => brief(text!)).join(", ");
      return html`<a href=${to("unit", features.key[i]!)}>${picture(features.picture[i]!, `What stands for it in ${networkName(this.book, side.network)}`, html`<span class="thumb missing">no picture</span>`)}
        <span>${sign(role)}<bdi>${words || "nothing more is known"}</bdi></span></a>`;
    };
    return html`<h3>Units of one name</h3>
      <p>Sites that both have: ${common.slice(0, 12).map((name, k) => html`${k ? ", " : ""}<bdi><code>${brief(name)}</code></bdi>`)}. The same number in another network need not be the same feature: where the two were trained apart, units of one name have nothing to do with each other.</p>
      <ul class="twins">${pairs.slice(0, this.units).map(([i, k]) => html`<li><p><bdi><code>${brief(`${sites.name[features.site[i]!]}:${features.unit[i]}`)}</code></bdi></p><div>${one(i, a, "main")}${one(k, b, "baseline")}</div></li>`)}</ul>
      ${pairs.length > this.units ? html`<button type="button" class="chip" @click=${() => { this.units += MORE; }}>Show more of ${plural(pairs.length, "unit")}</button>` : nothing}`;
  }
}

function apart(a: Quantity | null, b: Quantity | null): string {
  if (!a || !b) return "measured in one of them alone";
  const both = overlap(a, b);
  return both === null ? "no interval for one of them" : both ? "intervals overlap" : "intervals do not overlap";
}
