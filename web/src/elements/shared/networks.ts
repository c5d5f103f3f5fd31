// What the networks of a page are called: by a letter, as in figures, and by name.

import type { Book } from "../../book/book";
import { brief } from "../../words";
import { letter } from "./naming";

export function networkName(book: Book, number: number): string {
  const name = brief(book.index.networks[number]?.name ?? "a network that is not known");
  return book.index.networks.length > 1 ? `${letter(number)}: ${name}` : name;
}
