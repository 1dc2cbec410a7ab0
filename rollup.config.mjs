// Bundles the compiled modules of build/out/src, several times:
//
// - build/{index,cli}.js and chunk-*.js for Node, Deno and Bun. Packages and Node's own modules stay
//   imports.
// - build/portable/ for browsers and any other runtime: packages inlined, nothing of Node's, and
//   minified. The WebGPU backend with its shaders is a chunk that is loaded when it is opened, and so is
//   the tokenizer.
// - build/workerd.js, the same in one file that imports kernels.wasm (and kernels-relaxed.wasm, where
//   that is given to it) as a compiled module, as a worker may not compile one while it serves.
// - build/browser/, the page of examples/browser: each of its two scripts with all that it needs.
// - build/{index,kit}.d.ts, the declarations of the two faces, each in one file with what they share
//   in faces.d.ts: so that a type of the one is the same type in the other.
// - build/bench/gpu.js, a benchmark in one file, to be carried to machines without a network.
// - build/bench/guard.js, what test/bench/guard measures with all that it needs; a copy of it, committed,
//   is what later builds are compared with.
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import commonjs from "@rollup/plugin-commonjs";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import { minify } from "@swc/core";
import { dts } from "rollup-plugin-dts";

const root = fileURLToPath(new URL(".", import.meta.url));
const build = join(root, "build");
const compiled = (name) => join(build, "out", "src", name);
const declared = (name) => join(build, "types", "src", name);
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Inlines what package.json's "imports" names, so that the package needs no such field. */
const inlined = {
  name: "inlined",
  resolveId: (id) =>
    /^#(kernels(-relaxed)?|shaders)$/.test(id) ? join(build, `${id.slice(1)}.js`) : null,
};

/** Puts in the place of Node's modules a sentence that says that they are not there. */
const withoutNode = {
  name: "without-node",
  resolveId: (id) =>
    /\/(node-modules|disk)\.js$/.test(id) ? compiled("platform/no-node-modules.js") : null,
};

/** The same of the reader of Parquet, for a bundle that is one file. */
const withoutParquet = {
  name: "without-parquet",
  resolveId: (id) => (/^\.\/parquet\.js$/.test(id) ? compiled("datasets/no-parquet.js") : null),
};

/** And of what draws reports. */
const withoutReports = {
  name: "without-reports",
  resolveId: (id) =>
    /^\.\/report\/reporter\.js$/.test(id) ? compiled("report/no-reporter.js") : null,
};

/** Makes "#kernels" and "#kernels-relaxed" modules with the text that `text` gives by their names. */
function kernelsAs(name, text) {
  return {
    name,
    resolveId(id) {
      if (/^\.\/kernels.*\.wasm$/.test(id)) return { id, external: true };
      return /^#kernels(-relaxed)?$/.test(id) ? `\0${id.slice(1)}` : null;
    },
    load: (id) => (/^\0kernels(-relaxed)?$/.test(id) ? text(id.slice(1)) : null),
  };
}

/** The kernels deflated, in base64: of anything else it would make the download a quarter larger. */
const deflatedText = (name) =>
  deflateRawSync(readFileSync(join(build, `${name}.wasm`)), { level: 9 }).toString("base64");

const deflated = kernelsAs("deflated", (name) => {
  return `const deflated = "${deflatedText(name)}";
export async function readKernels() {
  const bytes = Uint8Array.from(atob(deflated), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
`;
});

/** The same for Node, whose first versions have no DecompressionStream of this kind. */
const deflatedForNode = kernelsAs(
  "deflated-for-node",
  (name) => `import { inflateRawSync } from "node:zlib";
const deflated = "${deflatedText(name)}";
export const readKernels = async () =>
  new Uint8Array(inflateRawSync(Uint8Array.from(atob(deflated), (c) => c.charCodeAt(0))));
`,
);

/**
 * Imports the kernels as modules that the runtime compiled; relaxed ones only when they are asked for,
 * as a runtime may not know them.
 */
const asModule = kernelsAs("as-module", (name) =>
  name === "kernels"
    ? 'import module from "./kernels.wasm";\nexport const readKernels = async () => module;\n'
    : `export const readKernels = async () => (await import("./${name}.wasm")).default;\n`,
);

/** Chunks of an earlier bundle would be published along with this one's. */
const clean = {
  name: "clean",
  generateBundle({ dir }) {
    rmSync(join(build, "portable"), { recursive: true, force: true });
    for (const name of readdirSync(dir)) {
      if (/^chunk-.*\.js$/.test(name)) rmSync(join(dir, name));
    }
  },
};

const executable = {
  name: "executable",
  writeBundle: () => chmodSync(join(build, "cli.js"), 0o755),
};

/** Writes the licences of the packages that are inlined beside the bundle. */
const licences = {
  name: "licences",
  generateBundle(_, bundle) {
    const modules = Object.values(bundle).flatMap((chunk) => chunk.moduleIds ?? []);
    const folders = modules.flatMap(
      (id) => id.match(/^\0?(.*\/node_modules\/(@[^/]+\/)?[^/]+)\//)?.[1] ?? [],
    );
    const texts = [...new Set(folders)].sort().map((folder) => {
      const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      const file = readdirSync(folder).find((one) => /^licen[cs]e(\.|$)/i.test(one));
      return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
    });
    const source = texts.join("\n----\n\n");
    if (source) this.emitFile({ type: "asset", fileName: "licences.txt", source });
  },
};

function onwarn(warning) {
  throw new Error(warning.message);
}

/** Names of portable chunks that are not those of the modules that they begin with. */
const chunkNames = {
  ...{ index: "core", kit: "core", gatherer: "importance-matrix" },
  ...{ file: "gguf-file", header: "gguf-header" },
  // What the reader and the writer of GGUF files share.
  "sentence-pieces": "gguf-tables",
};

/** What a portable chunk is called; of two modules of one name that of the tokenizer has its folder's. */
function chunkName({ name, facadeModuleId }) {
  if (/\/tokenizer\/definition\.js$/.test(facadeModuleId)) return "tokenizer";
  return chunkNames[name] ?? name.replace("_", "");
}

const packages = [nodeResolve({ browser: true }), commonjs()];

const minified = {
  name: "minified",
  async renderChunk(code) {
    const shorter = { passes: 3, ecma: 2022, module: true };
    const options = { compress: shorter, mangle: { toplevel: true }, module: true };
    return (await minify(code, { ...options, format: { comments: false } })).code;
  },
};

const page = join(build, "browser");

/** The page imports the package by its name, as other programs do. */
const ownName = {
  name: "own-name",
  resolveId: (id) => (id === "penjing" ? compiled("index.js") : null),
};

const besidePage = {
  name: "beside-page",
  writeBundle() {
    for (const name of ["index.html", "style.css", "work.css"]) {
      copyFileSync(join(root, "examples", "browser", name), join(page, name));
    }
  },
};

const pageScripts = ["main.js", "worker.js"].map((name) =>
  join(build, "out", "examples", "browser", name),
);

const gpuBench = join(build, "out", "test", "bench", "gpu", "run.js");
const guardCases = join(build, "out", "test", "bench", "guard", "cases.js");

export default [
  {
    input: { index: compiled("index.js"), kit: compiled("kit.js"), cli: compiled("cli.js") },
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
    onwarn,
  },
  {
    input: { index: compiled("index.js"), kit: compiled("kit.js") },
    plugins: [withoutNode, deflated, inlined, ...packages, minified, licences],
    output: {
      dir: join(build, "portable"),
      format: "es",
      chunkFileNames: (chunk) => `${chunkName(chunk)}.js`,
    },
    onwarn,
  },
  {
    input: compiled("index.js"),
    plugins: [
      withoutNode,
      withoutParquet,
      withoutReports,
      asModule,
      inlined,
      ...packages,
      minified,
    ],
    output: {
      file: join(build, "workerd.js"),
      format: "es",
      inlineDynamicImports: true,
    },
    onwarn,
  },
  {
    input: { index: declared("index.d.ts"), kit: declared("kit.d.ts") },
    plugins: [dts()],
    output: {
      dir: build,
      format: "es",
      chunkFileNames: "faces.d.ts",
      minifyInternalExports: false,
      // Left to itself, rollup puts what both need into index.d.ts and exports it there.
      manualChunks: (id) => (/\/src\/(index|kit)\.d\.ts$/.test(id) ? undefined : "faces"),
    },
    onwarn,
  },
  ...pageScripts.filter(existsSync).map((input) => ({
    input,
    plugins: [
      ...[ownName, withoutNode, deflated, inlined],
      ...[...packages, minified, licences, besidePage],
    ],
    output: { dir: page, format: "es", inlineDynamicImports: true },
    onwarn,
  })),
  ...[gpuBench].filter(existsSync).map((input) => ({
    input,
    external: /^node:/,
    plugins: [inlined, ...packages],
    output: {
      file: join(build, "bench", "gpu.js"),
      format: "es",
      inlineDynamicImports: true,
    },
    onwarn,
  })),
  ...[guardCases].filter(existsSync).map((input) => ({
    input,
    external: /^node:/,
    plugins: [withoutNode, deflatedForNode, inlined, ...packages, minified],
    output: {
      file: join(build, "bench", "guard.js"),
      format: "es",
      inlineDynamicImports: true,
    },
    onwarn,
  })),
];
