// Work that can wait until nothing else is to be done.

export function whenIdle(work: () => void): void {
  // Safari has no idle callback.
  if (window.requestIdleCallback) window.requestIdleCallback(() => work());
  else setTimeout(work, 50);
}
