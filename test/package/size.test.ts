import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { parseAst } from "rollup/parseAst";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note, repositoryRoot } from "../shared.js";

const test = suite("size");

/** Bytes, gzipped. */
const MOST_CORE = 140_000;
const MOST_SHADERS = 60_000;

/** Sizes by their rows in docs/runtimes.md. */
const told = new Map<string, number>();

const build = (name: string) => join(repositoryRoot, "build", name);

function zipped(text: string | Uint8Array): number {
  return gzipSync(text, { level: 9 }).length;
}

interface Node {
  readonly type: string;
  readonly source?: { readonly value?: unknown } | null;
}

interface Imports {
  /** Specifiers of what is loaded with the file, types of statement aside. */
  readonly fixed: readonly string[];
  /** Of `import("...")`; "(computed)" where it is not a plain string. */
  readonly dynamic: readonly string[];
}

function importsOf(path: string): Imports {
  const fixed: string[] = [];
  const dynamic: string[] = [];
  const visit = (value: unknown) => {
    if (Array.isArray(value)) value.forEach(visit);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const { type, source } = value as Node;
    if (type === "ImportExpression") dynamic.push(String(source?.value ?? "(computed)"));
    else if (source && /^(Import|Export)/.test(type)) fixed.push(String(source.value));
    Object.values(value).forEach(visit);
  };
  visit(parseAst(readFileSync(path, "utf8")));
  return { fixed, dynamic };
}

/** Every file that is loaded with a module, and what it imports that is no file beside it. */
function closure(path: string) {
  const files = new Set<string>();
  const packages = new Set<string>();
  const dynamic = new Set<string>();
  const visit = (file: string) => {
    if (files.has(file)) return;
    files.add(file);
    const imports = importsOf(file);
    for (const name of imports.dynamic) dynamic.add(name);
    for (const name of imports.fixed) {
      if (name.endsWith(".js") && name.startsWith(".")) visit(join(dirname(file), name));
      else packages.add(name);
    }
  };
  visit(path);
  return { files: [...files], packages: [...packages].sort(), dynamic: [...dynamic].sort() };
}

function textOf(files: readonly string[]): string {
  return files.map((file) => readFileSync(file, "utf8")).join("\n");
}

test("the portable core with its WASM is small", () => {
  const files = [...closure(build("portable/index.js")).files, build("portable/kernels.js")];
  const core = zipped(textOf(files));
  const relaxed = zipped(readFileSync(build("portable/kernels-relaxed.js")));
  const loaded = new Set(closure(build("portable/index.js")).files);
  const more = (name: string, before = loaded) =>
    closure(build(`portable/${name}.js`)).files.filter((file) => !before.has(file));
  const compressor = zipped(textOf(more("compressor")));
  const module = zipped(readFileSync(build("workerd.js")));
  const wasm = zipped(readFileSync(build("kernels.wasm")));
  const tokenizer = zipped(readFileSync(build("portable/tokenizer.js")));
  const jinja = zipped(readFileSync(build("portable/jinja.js")));
  const gguf = zipped(textOf(more("gguf")));
  const reader = new Set([...loaded, ...more("gguf"), ...more("exporter"), ...more("tokenizer")]);
  const writer = zipped(textOf(more("write-gguf", reader)));
  const matrix = zipped(readFileSync(build("portable/importance-matrix.js")));
  const quantized = zipped(textOf(more("quantized")));
  const hub = zipped(readFileSync(build("portable/hub.js")));
  const parquet = zipped(readFileSync(build("portable/parquet.js")));
  const reports = zipped(readFileSync(build("portable/reporter.js")));
  const doctor = zipped(readFileSync(build("portable/examiner.js")));
  told.set("portable core", core).set("kernels with relaxed SIMD", relaxed);
  told.set("what only `compress`", compressor).set("what only texts", tokenizer);
  told.set("what only chat templates", jinja);
  told.set("what only GGUF files", gguf).set("what only writing them", writer);
  told.set("what only importance matrices", matrix);
  told.set("what only quantized", quantized);
  told.set("what only models on a hub", hub).set("what only Parquet", parquet);
  const plans = ["counter", "planner"].map((name) => build(`portable/${name}.js`));
  const plan = zipped(textOf(plans));
  const limited = ["fits", "foresee", "holding", "sharded"].map((name) =>
    build(`portable/${name}.js`),
  );
  const limits = zipped(textOf(limited));
  told.set("what only limits of memory", limits);
  told.set("what only reports", reports);
  told.set("what only `doctor`", doctor).set("what only `plan`", plan);
  told.set("workerd.js", module).set("kernels.wasm", wasm);
  note(
    `portable core, packages and WASM inlined: ${core} bytes gzipped (at most ${MOST_CORE}); ` +
      `kernels for relaxed SIMD, loaded in their place: ${relaxed}; ` +
      `what only compress loads: ${compressor}; ` +
      `what only texts need, the tokenizer: ${tokenizer}; ` +
      `what only chat templates need: ${jinja}; what only GGUF files need: ${gguf}, and what writing them: ${writer}; ` +
      `what only importance matrices need: ${matrix}; ` +
      `what only quantized checkpoints need: ${quantized}; what only Parquet needs: ${parquet}; ` +
      `what only models on a hub: ${hub}; what only reports: ${reports}; what only doctor: ${doctor}; what only plan: ${plan}; ` +
      `for workerd, WebGPU included: ${module} and ${wasm} for kernels.wasm`,
  );
  assert.ok(core <= MOST_CORE, `${core} bytes gzipped are more than ${MOST_CORE}`);
});

test("the shaders are small, and load with the WebGPU backend only", () => {
  const shaders = zipped(readFileSync(build("shaders.js")));
  const chunk = zipped(readFileSync(build("portable/webgpu.js")));
  told.set("shaders |", shaders).set("shaders with the WebGPU backend", chunk);
  note(
    `shaders: ${shaders} bytes gzipped (at most ${MOST_SHADERS}); with the backend that uses them: ${chunk}`,
  );
  assert.ok(shaders <= MOST_SHADERS, `${shaders} bytes gzipped are more than ${MOST_SHADERS}`);
  assert.match(readFileSync(build("portable/webgpu.js"), "utf8"), "@workgroup_size");
  const core = textOf(closure(build("portable/index.js")).files);
  assert.not.match(core, "@workgroup_size");
});

test("the portable bundle imports nothing but its own files, and names no module of Node", () => {
  const { packages, dynamic } = closure(build("portable/index.js"));
  assert.equal(packages, []);
  const backends = ["./kernels-relaxed.js", "./kernels.js", "./reference.js", "./webgpu.js"];
  const matrix = "./importance-matrix.js";
  const tasks = "./evaluator.js";
  const report = "./reporter.js";
  const [doctor, plan] = ["./examiner.js", "./planner.js"];
  const steps = ["./compressor.js", "./exporter.js", "./linear.js", "./recipe.js"];
  const work = [...steps, doctor, matrix, plan, report, tasks];
  const folders = [
    "./gguf.js",
    "./grid-rows.js",
    "./hub.js",
    "./locate.js",
    "./quantized.js",
    "./unusual-files.js",
  ];
  const texts = ["./jinja.js", "./tokenizer.js"];
  const datasets = ["./lines.js", "./parquet.js"];
  const models = ["./block-by-block.js", "./codes.js", "./sharded.js"];
  const memory = ["./fits.js", "./foresee.js", "./holding.js"];
  const all = [...work, ...folders, ...texts, ...datasets, ...models, ...memory, ...backends];
  assert.equal(dynamic, all.sort());
  for (const name of dynamic) {
    assert.ok(existsSync(build(join("portable", name))));
    const later = importsOf(build(join("portable", name))).dynamic;
    const chunks = [
      "./counter.js",
      "./definition.js",
      "./gguf-grids.js",
      "./gguf-output.js",
      "./quantize-table.js",
      "./write-gguf.js",
    ];
    const known = [...dynamic, "./core.js", ...chunks];
    assert.ok(later.every((file) => known.includes(file)));
  }
  for (const name of [
    "index.js",
    "core.js",
    "counter.js",
    "definition.js",
    "gguf-grids.js",
    "gguf-output.js",
    "quantize-table.js",
    "write-gguf.js",
    ...dynamic,
  ]) {
    assert.not.match(readFileSync(build(join("portable", name)), "utf8"), /["'`]node:|\brequire\(/);
  }
});

test("the bundle for workerd is one file and the kernels as a module", () => {
  const { packages, dynamic } = closure(build("workerd.js"));
  assert.equal(packages, ["./kernels.wasm"]);
  assert.equal(dynamic, ["./kernels-relaxed.wasm"]);
  assert.not.match(readFileSync(build("workerd.js"), "utf8"), /["'`]node:|\brequire\(/);
});

test("the library needs few packages; the others are the command line's", () => {
  const { packages, dynamic } = closure(build("index.js"));
  const later = dynamic.filter((name) => name.startsWith("./chunk-"));
  const all = later.flatMap((name) => closure(build(name)).packages);
  const own = [...new Set([...packages, ...all])].filter(
    (name) => !/^(\.|node:|webgpu$)/.test(name),
  );
  const parquet = ["hyparquet", "hyparquet-compressors"];
  const drawing = ["d3-array", "d3-format", "d3-scale", "d3-shape"];
  const known = ["@huggingface/jinja", ...drawing, ...parquet, "p-limit", "p-retry", "picomatch"];
  assert.equal(own.sort(), known);
  const inlined = readFileSync(build("portable/licences.txt"), "utf8");
  const names = [...inlined.matchAll(/^(\S+) \d+\.\d+\.\d+$/gm)].map(([, name]) => name);
  // With those that these bring.
  const theirs = [
    "d3-color",
    "d3-interpolate",
    "d3-path",
    "fzstd",
    "hysnappy",
    "is-network-error",
    "yocto-queue",
  ];
  assert.equal(names, [...known, ...theirs].sort());
});

test("docs/runtimes.md and README.md tell these sizes", () => {
  const page = readFileSync(join(repositoryRoot, "docs", "runtimes.md"), "utf8").split("\n");
  for (const [row, bytes] of told) {
    const line = page.find((one) => one.startsWith(`| ${row}`));
    const said = Number(/ ([\d,]+) \|/.exec(line ?? "")?.[1].replaceAll(",", ""));
    assert.ok(Math.abs(said / bytes - 1) < 0.05, `${row}: ${bytes} bytes, not ${said}`);
  }
  const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");
  const sentence = /(\d+) KB gzipped [^.]* tokenizer adds (\d+) KB [^.]* WebGPU (\d+) KB/;
  const [, core, tokenizer, gpu] = sentence.exec(readme)!.map(Number);
  for (const [said, row] of [
    [core, "portable core"],
    [tokenizer, "what only texts"],
    [gpu, "shaders with the WebGPU backend"],
  ] as const) {
    assert.ok(Math.abs((1000 * said) / told.get(row)! - 1) < 0.05, `README.md: ${said} KB, ${row}`);
  }
});

test.run();
