// Finding names as one types them: pieces of words in any order, one slip of the finger allowed, in any script.

import uFuzzy from "@leeoniya/ufuzzy";

const fuzzy = new uFuzzy({
  unicode: true,
  interSplit: "[^\\p{L}\\p{M}\\d']+",
  intraSplit: "\\p{Ll}\\p{Lu}",
  intraBound: "\\p{L}\\d|\\d\\p{L}|\\p{Ll}\\p{Lu}",
  intraChars: "[\\p{L}\\p{M}\\d']",
  intraContr: "'\\p{L}{1,2}\\b",
});

/** Above so many matches their order says nothing, and is not worked out. */
const RANKED = 1000;

/** Which of `texts` match, the best first; null where nothing was asked. */
export function find(texts: string[], wanted: string): number[] | null {
  const needle = wanted.trim();
  if (!needle) return null;
  // In the order in which they were typed first: then the best match is known.
  let [found, info, order] = fuzzy.search(texts, needle, 0, RANKED);
  if (!found?.length) [found, info, order] = fuzzy.search(texts, needle, 1, RANKED);
  // Signs alone are no words: those are looked for as they stand, and so is what no word was found for.
  if (!found?.length) return plain(texts, needle.toLowerCase());
  return info && order ? order.map((k) => info!.idx[k]!) : found;
}

function plain(texts: string[], needle: string): number[] {
  const out: number[] = [];
  texts.forEach((text, i) => text.toLowerCase().includes(needle) && out.push(i));
  return out;
}
