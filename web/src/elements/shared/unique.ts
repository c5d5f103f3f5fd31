// An id that no other element of the document has: the article stays in it while a view stands in its place.

let made = 0;

export function unique(): string {
  return `mg-${++made}`;
}
