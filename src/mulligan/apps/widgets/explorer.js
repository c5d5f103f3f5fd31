// An Explorer in a notebook: the same elements as on the page, in a shadow root; chunks come from the kernel.

function define(code) {
  if (customElements.get("mg-page")) return;
  const script = document.createElement("script");
  script.textContent = code;
  document.head.append(script);
  script.remove();
}

async function unpack(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

export default {
  render({ model, el }) {
    define(model.get("code"));
    const waiting = new Map();
    const answered = (message, buffers) => {
      const asked = waiting.get(message.chunk);
      if (!asked) return;
      waiting.delete(message.chunk);
      if (message.missing) asked.reject(new Error(`The kernel has no part ${message.chunk} of this page.`));
      else asked.resolve(unpack(buffers[0]));
    };
    model.on("msg:custom", answered);
    const page = document.createElement("mg-page");
    page.embedded = true;
    page.transport = {
      index: async () => JSON.parse(model.get("index")),
      chunk: (n) =>
        new Promise((resolve, reject) => {
          waiting.set(n, { resolve, reject });
          model.send({ chunk: n });
        }),
    };
    page.innerHTML = model.get("prose");
    const style = document.createElement("style");
    style.textContent = model.get("style") + ":host{display:block;max-height:46rem;overflow:auto;container-type:inline-size}";
    const root = el.attachShadow({ mode: "open" });
    root.append(style, page);
    return () => model.off("msg:custom", answered);
  },
};
