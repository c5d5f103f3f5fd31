// Builds every element into one file, src/mulligan/reports/assets/mulligan.js, which is committed and ships in the wheel.
// The first line names the digest of the sources, so that a stale build is seen without Node (tests/reports/page).

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../src/mulligan/reports/assets/mulligan.js");

function files(folder) {
  return readdirSync(folder).sort().flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

// The order is that of the paths as text, with "/" between folders; tests do the same.
function digest() {
  const hash = createHash("sha256");
  const paths = [...files(join(here, "src")), join(here, "package-lock.json"), join(here, "build.mjs")];
  for (const path of paths.map((path) => relative(here, path).replaceAll("\\", "/")).sort()) {
    hash.update(path + "\0").update(readFileSync(join(here, path))).update("\0");
  }
  return hash.digest("hex");
}

const result = await build({
  entryPoints: [join(here, "src/main.ts")],
  bundle: true,
  write: false,
  minify: true,
  format: "iife",
  target: ["chrome111", "firefox113", "safari16.4"],
  legalComments: "inline",
  charset: "ascii",
  tsconfig: join(here, "tsconfig.json"),
});
// "</script" would end the tag that holds the bundle; in a string or a template the backslash changes nothing.
const code = `/* sources ${digest()} */\n` + result.outputFiles[0].text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
writeFileSync(out, code);
const size = gzipSync(code).length;
console.log(`${relative(join(here, ".."), out)}: ${(code.length / 1024).toFixed(1)} KB, ${(size / 1024).toFixed(1)} KB gzipped`);
if (size > 120 * 1024) {
  console.error("the bundle is larger than 120 KB gzipped");
  process.exit(1);
}
