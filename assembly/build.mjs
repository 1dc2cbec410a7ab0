// Compiles assembly/index.ts twice, to build/kernels.wasm and, with relaxed SIMD, to
// build/kernels-relaxed.wasm, and writes the same bytes as importable modules, build/kernels.js and
// build/kernels-relaxed.js (the package imports "#kernels" and "#kernels-relaxed"). Before, it writes the
// sources that generate.mjs makes to build/generated.
// Run: node assembly/build.mjs
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { generatedSources } from "./generate.mjs";

const SOURCE = dirname(fileURLToPath(import.meta.url));
const OUT = resolve(SOURCE, "..", "build");
const GENERATED = join(OUT, "generated");

/**
 * The memory is imported, of up to 65536 pages (4 GiB) as its owner likes. It names a maximum because
 * a shared memory must have one (src/backends/wasm/module.ts). The stub runtime allocates nothing:
 * TypeScript hands every kernel its addresses.
 */
const FLAGS = [
  ...["-O2", "--noAssert"],
  ...["--runtime", "stub"],
  ...["--importMemory", "--initialMemory", "64", "--maximumMemory", "65536"],
];

/** What each module may use of WebAssembly, by the name of its files. */
const MODULES = {
  kernels: ["--enable", "simd"],
  "kernels-relaxed": ["--enable", "simd,relaxed-simd"],
};

/** Every file below `path`, or `path` itself when it is a file; sorted; [] when it is missing. */
export function filesBelow(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

/**
 * A SHA-256 over the names (relative to `root`) and contents of files and folders: what decides
 * whether a build step has anything to do.
 */
export function contentHash(root, paths, extra = "") {
  const hash = createHash("sha256").update(`${extra}\n`);
  for (const file of paths.flatMap((path) => filesBelow(resolve(root, path)))) {
    const bytes = readFileSync(file);
    hash.update(`${relative(root, file)}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest("hex");
}

/** Writes a file so that a reader never sees half of it. */
function replaceFile(path, content) {
  const partial = `${path}.${process.pid}`;
  writeFileSync(partial, content);
  renameSync(partial, path);
}

/** A module that holds the kernels in its own text; the bundle for workers imports the file. */
function inlineModule(base64) {
  return `const base64 =
  "${base64}";
export const readKernels = async () => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
`;
}

const DECLARATIONS = `/** The kernels as bytes, or compiled where a runtime allows nothing else. */
export declare function readKernels(): Promise<Uint8Array<ArrayBuffer> | WebAssembly.Module>;
`;

/** Of the file itself, as runtimes and bundlers that compile imported WebAssembly give it. */
const MODULE_DECLARATIONS = `declare const module: WebAssembly.Module;
export default module;
`;

/**
 * Compiles the kernels unless build/ already holds the result of the same sources and compiler.
 *
 * @param onStart called before a compilation, not when there is nothing to do
 * @returns true when something was compiled
 * @throws Error with the compiler's messages; the stamp is gone then
 */
export function buildKernels(onStart = () => {}) {
  const entry = join(SOURCE, "index.ts");
  if (!existsSync(entry)) throw new Error(`${entry} is missing: it lists the kernels to compile.`);
  const compiler = createRequire(import.meta.url).resolve("assemblyscript/package.json");
  const { version } = JSON.parse(readFileSync(compiler, "utf8"));
  const hashInputs = () =>
    contentHash(
      SOURCE,
      ["."],
      `assemblyscript ${version} ${FLAGS.join(" ")} ${JSON.stringify(MODULES)}`,
    );
  const fingerprint = hashInputs();

  const stamp = join(OUT, "kernels.stamp");
  const output = (name, extension) => join(OUT, `${name}.${extension}`);
  const outputs = Object.keys(MODULES).flatMap((name) =>
    ["wasm", "js", "d.ts", "wasm.d.ts"].map((extension) => output(name, extension)),
  );
  const fresh =
    [stamp, GENERATED, ...outputs].every(existsSync) && readFileSync(stamp, "utf8") === fingerprint;
  if (fresh) return false;

  onStart();
  mkdirSync(GENERATED, { recursive: true });
  rmSync(stamp, { force: true });
  for (const [name, text] of Object.entries(generatedSources)) {
    replaceFile(join(GENERATED, name), text);
  }
  const asc = join(dirname(compiler), "bin", "asc.js");
  for (const [name, features] of Object.entries(MODULES)) {
    const partial = join(OUT, `${name}.${process.pid}.wasm`);
    const args = [asc, entry, "--outFile", partial, ...FLAGS, ...features];
    const child = spawnSync(process.execPath, args, { cwd: dirname(compiler), encoding: "utf8" });
    if (child.status !== 0) {
      rmSync(partial, { force: true });
      throw new Error(
        `The kernels do not compile.\n${child.error ?? ""}${child.stdout}${child.stderr}`.trim(),
      );
    }
    const base64 = readFileSync(partial).toString("base64");
    renameSync(partial, output(name, "wasm"));
    replaceFile(output(name, "js"), inlineModule(base64));
    replaceFile(output(name, "d.ts"), DECLARATIONS);
    replaceFile(output(name, "wasm.d.ts"), MODULE_DECLARATIONS);
  }
  // A source saved while the compiler ran may or may not be in the result: build again next time.
  if (hashInputs() === fingerprint) replaceFile(stamp, fingerprint);
  return true;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  try {
    console.log(
      buildKernels() ? "build/kernels*.wasm: compiled" : "build/kernels*.wasm: up to date",
    );
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
