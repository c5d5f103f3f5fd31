// An Explorer in a notebook: the same elements as on the page, in a shadow root. What the notebook was not given of the
// page is asked of its kernel.

const PATIENCE = 3000;
const ASKING =
  "Waiting for the notebook's kernel, which has the rest of this page. Where there is none, as in an exported notebook, " +
  "what is not shown lies in the run's folder.";

function define(code) {
  if (customElements.get("mg-page")) return;
  const script = document.createElement("script");
  script.textContent = code;
  document.head.append(script);
  script.remove();
}

async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Chunks that were kept, else those of the kernel; `told` hears whether one has been waited for too long. */
function chunks(model, told) {
  const waiting = new Map();
  const answered = (message, buffers) => {
    const asked = waiting.get(message.chunk);
    if (!asked) return;
    waiting.delete(message.chunk);
    clearTimeout(asked.late);
    if (!waiting.size) told(false);
    if (message.missing) asked.reject(new Error(`The kernel has no part ${message.chunk} of this page.`));
    else asked.resolve(unpack(buffers[0]));
  };
  model.on("msg:custom", answered);
  return {
    async chunk(n) {
      const kept = model.get("kept")[n];
      if (kept) return unpack(Uint8Array.from(atob(kept), (letter) => letter.charCodeAt(0)));
      return new Promise((resolve, reject) => {
        waiting.set(n, { resolve, reject, late: setTimeout(told, PATIENCE, true) });
        model.send({ chunk: n });
      });
    },
    stop: () => {
      model.off("msg:custom", answered);
      for (const { late } of waiting.values()) clearTimeout(late);
    },
  };
}

/** Notebooks have themes of their own: dark is where the text around the output is light. */
function follow(el) {
  const look = () => {
    const colour = el.parentElement && getComputedStyle(el.parentElement).color.match(/[\d.]+/g);
    if (!colour) return;
    const [red, green, blue] = colour.map(Number);
    el.toggleAttribute("data-dark", 0.3 * red + 0.6 * green + 0.1 * blue > 128);
  };
  const laid = new ResizeObserver(look); // also when it is put into the document
  laid.observe(el);
  const themed = new MutationObserver(() => setTimeout(look, 100));
  for (const root of [document.documentElement, document.body]) themed.observe(root, { attributes: true });
  return () => (laid.disconnect(), themed.disconnect());
}

export default {
  render({ model, el }) {
    define(model.get("code"));
    const asking = document.createElement("p");
    asking.className = "asking";
    asking.setAttribute("role", "status");
    asking.hidden = true;
    asking.textContent = ASKING;
    const source = chunks(model, (late) => (asking.hidden = !late));
    const page = document.createElement("mg-page");
    page.embedded = true;
    page.transport = { index: async () => JSON.parse(model.get("index")), chunk: source.chunk };
    page.innerHTML = model.get("prose");
    const style = document.createElement("style");
    style.textContent = model.get("sheet");
    el.attachShadow({ mode: "open" }).append(style, asking, page);
    const unfollow = follow(el);
    return () => (source.stop(), unfollow());
  },
};
