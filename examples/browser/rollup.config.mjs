// Bundles the page: build/out/examples/browser/{main,worker}.js -> build/browser/, with everything
// that they import inside, beside index.html and style.css. `penjing` is build/portable, which is
// bundled before.
import { appendFileSync, copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nodeResolve } from "@rollup/plugin-node-resolve";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "..", "..");
const page = join(root, "build", "browser");
const portable = join(root, "build", "portable");

const penjing = {
  name: "penjing",
  resolveId: (id) => (id === "penjing" ? join(portable, "index.js") : null),
};

const beside = {
  name: "beside",
  writeBundle() {
    mkdirSync(page, { recursive: true });
    for (const name of ["index.html", "style.css"]) {
      copyFileSync(join(here, name), join(page, name));
    }
    const licences = join(page, "licences.txt");
    copyFileSync(join(portable, "licences.txt"), licences);
    const zip = readFileSync(join(root, "node_modules", "client-zip", "LICENSE.txt"), "utf8");
    appendFileSync(licences, `\n----\n\nclient-zip\n\n${zip.trim()}\n`);
  },
};

export default ["main", "worker"].map((name) => ({
  input: join(root, "build", "out", "examples", "browser", `${name}.js`),
  plugins: [penjing, nodeResolve({ browser: true }), ...(name === "main" ? [beside] : [])],
  output: { file: join(page, `${name}.js`), format: "es", inlineDynamicImports: true },
  onwarn(warning) {
    throw new Error(warning.message);
  },
}));
