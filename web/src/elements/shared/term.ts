// Words that the glossary explains: links to it, whose definition shows where they stand (preview.ts).

import { html, type TemplateResult } from "lit";
import { to } from "../../router";
import { brief } from "../../words";
import { whenIdle } from "./idle";

/** A word of the glossary within a template; `text` is how it reads there. */
export function term(word: string, text: string = word): TemplateResult {
  return html`<a class="term" href=${to("glossary", word)}>${brief(text)}</a>`;
}

/** Prose in which words are looked for, and what in it is left as it is. */
const PROSE = "p, dt, th, li, figcaption";
const LEFT = "a, code, pre, button, summary, h1, h2, h3, h4, h5, nav, bdi, .tag, .headline, .word, .none, .left, .kicker, .glossary";

/** Makes a link of the first time that each word of the glossary stands in a section. */
export function gloss(section: Element, glossary: Record<string, string>): void {
  const words = Object.keys(glossary).sort((a, b) => b.length - a.length);
  const known = new Map(words.map((word) => [word.toLowerCase(), word]));
  const left = new Set(words);
  // "A lead" is a word of ours, "leads to" is not.
  const pattern = new RegExp(`(?<![\\p{L}\\d-])(${words.map(escaped).join("|")})(s?)(?![\\p{L}\\d-]|\\s+(?:to|in|on)\\b)`, "giu");
  for (const text of texts(section)) {
    for (let node: Text | null = text; node && left.size; ) node = link(node, pattern, known, left);
  }
}

function texts(section: Element): Text[] {
  const own = (element: Element) => element.localName.startsWith("mg-");
  const walker = document.createTreeWalker(section, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, (node) => {
    if (node instanceof Element) return own(node) || node.matches(LEFT) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_SKIP;
    return node.parentElement?.closest(PROSE) ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_SKIP;
  });
  const out: Text[] = [];
  while (walker.nextNode()) out.push(walker.currentNode as Text);
  return out;
}

/** Links the first known word in `node`; returns the text after it, or null. */
function link(node: Text, pattern: RegExp, known: Map<string, string>, left: Set<string>): Text | null {
  for (const match of node.data.matchAll(pattern)) {
    const word = known.get(match[1]!.toLowerCase());
    // What is written in capitals, such as AUC, is only meant so.
    if (!word || !left.delete(word) || (word === word.toUpperCase() && match[1] !== word)) continue;
    const after = node.splitText(match.index).splitText(match[0].length);
    const a = document.createElement("a");
    a.className = "term";
    a.href = to("glossary", word);
    a.append(match[0]);
    after.previousSibling!.replaceWith(a);
    return after;
  }
  return null;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Goes through the article once it can be read, a section at a time, when nothing else is to be done: links words, and
 *  draws what page.css leaves for later. */
export function finish(page: Element, glossary: Record<string, string>): void {
  const sections = [...page.querySelectorAll<HTMLElement>(":scope > main > section, :scope > main > header")];
  const step = (): void => {
    const section = sections.shift();
    if (!section) {
      document.documentElement.dataset.mgWhole = "";
      return;
    }
    section.style.contentVisibility = "visible";
    if (Object.keys(glossary).length) gloss(section, glossary);
    whenIdle(step);
  };
  whenIdle(step);
}
