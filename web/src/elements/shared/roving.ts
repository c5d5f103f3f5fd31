// Arrow keys within a list of buttons or links: up and down, home and end.

export function rove(event: KeyboardEvent): void {
  const list = event.currentTarget as HTMLElement;
  const items = [...list.querySelectorAll<HTMLElement>("[data-item]")];
  const now = items.indexOf(document.activeElement as HTMLElement);
  if (now < 0) return;
  const next: Record<string, number> = {
    ArrowDown: now + 1, ArrowRight: now + 1, ArrowUp: now - 1, ArrowLeft: now - 1, Home: 0, End: items.length - 1,
  };
  const to = next[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items[Math.min(items.length - 1, Math.max(0, to))]!.focus();
}
