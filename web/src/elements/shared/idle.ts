// Work that can wait until nothing else is to be done.

export function whenIdle(work: () => void): void {
  // Safari has no idle callback; a frame that is not drawn (below the fold of a notebook, say) has no idle time either.
  if (window.requestIdleCallback) window.requestIdleCallback(() => work(), { timeout: 200 });
  else setTimeout(work, 50);
}
