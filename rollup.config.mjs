// Bundles the compiled modules: build/out/src/{index,cli}.js -> build/{index,cli}.js and the
// chunks that they share. Packages and Node's own modules stay imports.
import { chmodSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL(".", import.meta.url));
const build = join(root, "build");
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Inlines what package.json's "imports" names, so that the package needs no such field. */
const inlined = {
  name: "inlined",
  resolveId: (id) => (/^#(kernels|shaders)$/.test(id) ? join(build, `${id.slice(1)}.js`) : null),
};

/** Chunks of an earlier bundle would be published along with this one's. */
const clean = {
  name: "clean",
  generateBundle() {
    for (const name of readdirSync(build)) {
      if (/^chunk-.*\.js$/.test(name)) rmSync(join(build, name));
    }
  },
};

const executable = {
  name: "executable",
  writeBundle: () => chmodSync(join(build, "cli.js"), 0o755),
};

export default {
  input: {
    index: join(build, "out", "src", "index.js"),
    cli: join(build, "out", "src", "cli.js"),
  },
  external: (id) =>
    id.startsWith("node:") ||
    Object.keys(dependencies).some((name) => id === name || id.startsWith(`${name}/`)),
  plugins: [inlined, clean, executable],
  output: {
    dir: build,
    format: "es",
    chunkFileNames: "chunk-[name].js",
    banner: (chunk) => (chunk.name === "cli" && chunk.isEntry ? "#!/usr/bin/env node" : ""),
  },
  onwarn(warning) {
    throw new Error(warning.message);
  },
};
