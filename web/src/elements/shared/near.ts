// Waiting until an element comes near the window: what nobody looks at is drawn when there is nothing else to do, so that
// it is there once the page is printed.

const waiting = new Map<Element, () => void>();
const watch = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) call(target);
  },
  { rootMargin: "600px" },
);

/** Calls `then` once, when `element` comes near the window, or in an idle moment. */
export function whenNear(element: Element, then: () => void): void {
  waiting.set(element, then);
  watch.observe(element);
  idle();
}

export function forget(element: Element): void {
  waiting.delete(element);
  watch.unobserve(element);
}

export function near(element: Element): Promise<void> {
  return new Promise((resolve) => whenNear(element, resolve));
}

function call(element: Element): void {
  const then = waiting.get(element);
  forget(element);
  then?.();
}

let planned = false;

// One at a time, and late: nothing that a person does is to wait for it. Safari has no idle callback, and goes without.
function idle(): void {
  if (planned || !("requestIdleCallback" in window)) return;
  planned = true;
  setTimeout(() => requestIdleCallback(() => {
    planned = false;
    const next = [...waiting.keys()].find((element) => element.isConnected && element.getClientRects().length > 0);
    if (!next) return;
    call(next);
    idle();
  }), document.readyState === "complete" && performance.now() > 4000 ? 30 : 2500);
}

/** Draws all that waits: paper has no window that anything comes near. */
export function drawWaiting(): void {
  for (const element of [...waiting.keys()]) {
    if (element.isConnected) call(element);
    else forget(element);
  }
}

window.addEventListener("beforeprint", drawWaiting);
