// Waiting until an element comes near the window: what nobody looks at costs nothing.

const waiting = new Map<Element, () => void>();
const watch = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      waiting.get(target)?.();
      waiting.delete(target);
    }
  },
  { rootMargin: "600px" },
);

export function near(element: Element): Promise<void> {
  return new Promise((resolve) => {
    waiting.set(element, resolve);
    watch.observe(element);
  });
}
