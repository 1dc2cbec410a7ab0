// Collects shaders/*.wgsl into build/shaders.js (the package import "#shaders"): a table of texts by
// file name, without comments and indentation. Run: node shaders/build.mjs
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SOURCE = dirname(fileURLToPath(import.meta.url));
const BUILD = resolve(SOURCE, "..", "build");

/** Lines that begin with `//:` are directives of src/backends/webgpu/shader-text.ts and stay. */
function shorten(text) {
  return text
    .split("\n")
    .map((line) => (line.trim().startsWith("//:") ? line : line.replace(/\/\/.*$/, "")).trim())
    .filter((line) => line !== "")
    .join("\n");
}

function writeChanged(path, content) {
  if (existsSync(path) && readFileSync(path, "utf8") === content) return false;
  writeFileSync(path, content);
  return true;
}

/** @returns true when the table changed */
export function buildShaders() {
  const names = readdirSync(SOURCE)
    .filter((name) => name.endsWith(".wgsl"))
    .sort();
  const table = Object.fromEntries(
    names.map((name) => [
      name.slice(0, -".wgsl".length),
      shorten(readFileSync(join(SOURCE, name), "utf8")),
    ]),
  );
  mkdirSync(BUILD, { recursive: true });
  const text = `export const shaders = ${JSON.stringify(table, null, 1)};\n`;
  writeChanged(
    join(BUILD, "shaders.d.ts"),
    "export declare const shaders: Readonly<Record<string, string>>;\n",
  );
  return writeChanged(join(BUILD, "shaders.js"), text);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  console.log(buildShaders() ? "build/shaders.js: written" : "build/shaders.js: up to date");
}
