// An example in words, as src/mulligan/reports/phrases.py says it.

import type { ExampleRef } from "../../book/format";
import { brief, number, token } from "../../words";

export function exampleWords(example: ExampleRef): string {
  const parts: string[] = [];
  if (example.label !== null) parts.push(brief(example.label));
  if (example.answer !== null) parts.push(`answered ${brief(example.answer)}`);
  if (example.activation !== null) parts.push(`activation ${number(example.activation)}`);
  if (example.tokens?.length) parts.push(`“${example.tokens.slice(0, 24).map(token).join("")}”`);
  return parts.length ? parts.join(", ") : `example ${brief(example.id)}`;
}
