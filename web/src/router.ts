// Addresses: "#/unit/blocks.5:12?from=top" is a view, "#checks" a place in the article, "#/" the article's top.

export interface Address {
  /** "unit", "class", "table"... */
  view: string;
  /** What of: a key, an id; "" where the view is of everything. */
  of: string;
  query: URLSearchParams;
}

export function read(hash: string): Address | null {
  if (!hash.startsWith("#/") || hash === "#/") return null;
  const [path = "", query = ""] = split(hash.slice(2), "?");
  const [view = "", of = ""] = split(path, "/");
  return { view, of: decoded(of), query: new URLSearchParams(query) };
}

export function to(view: string, of = "", query: Record<string, string | number | null | undefined> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  // Colons and slashes read better as they are, and are allowed in a fragment.
  const tail = of ? `/${encodeURIComponent(of).replace(/%(3A|2F|2C|40|7E)/g, (code) => decodeURIComponent(code))}` : "";
  return `#/${view}${tail}${text ? `?${text}` : ""}`;
}

/** Pages in a notebook have no address of their own: what they show is kept by each of them. */
let owned = true;

export function disown(): void {
  owned = false;
}

/** Changes what the present view's query says, without a new step in the history. */
export function amend(query: Record<string, string | number | null | undefined>): void {
  const now = owned ? read(location.hash) : null;
  if (!now) return;
  const all: Record<string, string> = Object.fromEntries(now.query);
  const next = to(now.view, now.of, { ...all, ...query });
  // Within srcdoc an address is taken for one of the page around it, unless it is whole.
  if (next !== location.hash) history.replaceState(null, "", location.href.split("#", 1)[0] + next);
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
