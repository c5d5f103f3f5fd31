// Keys of the whole page: "/" searches, "?" tells all keys. They can be turned off, for those who speak to their computer.

import { html, render } from "lit";
import { read, to } from "../../router";
import type { Page } from "./page";

const KEYS: [string, string][] = [
  ["/", "to the search of what is shown, or of all features"],
  ["n, p", "the next unit of the same site, the one before"],
  ["g", "the glossary"],
  ["?", "these keys"],
  ["Escape", "closes what has opened; in a view: back to the page that it belongs to"],
  ["Arrow keys, Home, End, Page up, Page down", "within lists, maps and tables"],
  ["Enter", "opens what has the focus"],
];

let single = true;

function pageOf(): Page | null {
  const pages = document.querySelectorAll<Page>("mg-page");
  // Notebooks show several pages in one document, which has keys of its own.
  return pages.length === 1 && !pages[0]!.embedded && pages[0]!.book ? pages[0]! : null;
}

document.addEventListener("keydown", (event) => {
  const page = pageOf();
  const target = event.composedPath()[0] as Element;
  if (!page || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (target.matches?.("input, textarea, select, [contenteditable]") || target.closest?.("dialog")) return;
  if (event.key === "Escape") {
    if (read(location.hash)) location.hash = "#/";
    return;
  }
  if (!single) return;
  if (event.key === "?") help(page);
  else if (event.key === "/") search(page);
  else if (event.key === "g") location.hash = to("glossary");
  else if (event.key === "n" || event.key === "p") page.querySelector<HTMLElement>(`.stage a[rel="${event.key === "n" ? "next" : "prev"}"]`)?.click();
  else return;
  event.preventDefault();
});

function search(page: Page): void {
  const viewing = page.classList.contains("viewing");
  const input = page.querySelector<HTMLElement>(`${viewing ? ".stage" : ":scope > main"} input[type=search]`);
  if (input) {
    input.scrollIntoView({ block: "center" });
    input.focus();
    return;
  }
  location.hash = to("features");
  window.addEventListener("hashchange", () => setTimeout(() => page.querySelector<HTMLElement>(".stage input[type=search]")?.focus(), 100), { once: true });
}

/** All keys, in a dialog that Escape closes and that gives the focus back. */
export function help(page: Page): void {
  const dialog = document.createElement("dialog");
  dialog.className = "help";
  dialog.setAttribute("aria-labelledby", "mg-keys");
  const toggled = (event: Event) => (single = (event.target as HTMLInputElement).checked);
  render(html`<h2 id="mg-keys" tabindex="-1" autofocus>Keys</h2>
    <dl class="pairs">${KEYS.map(([key, does]) => html`<div><dt>${key.split(", ").map((one, i) => html`${i ? " " : ""}<kbd>${one}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
    <p><label><input type="checkbox" .checked=${single} @change=${toggled}> Keys of one letter or sign work</label></p>
    <form method="dialog"><button>Close</button></form>`, dialog);
  dialog.addEventListener("close", () => dialog.remove());
  page.append(dialog);
  dialog.showModal();
}

// Who does not know of "?" finds the keys at the page's end.
for (const page of document.querySelectorAll<Page>("mg-page")) {
  void page.opened.then(() => {
    const footer = page.querySelector(":scope > footer");
    if (!footer || page !== pageOf()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Keys of this page (?)";
    button.addEventListener("click", () => help(page));
    footer.append(button);
  });
}

// The link to the text leads to the view, where one is shown: the article's own address would leave it.
document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest?.("a.skip");
  const page = pageOf();
  if (!link || !page?.classList.contains("viewing")) return;
  event.preventDefault();
  page.querySelector<HTMLElement>(".stage h1")?.focus();
});
