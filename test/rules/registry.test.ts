import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import * as withoutKernel from "../../src/backends/wasm/without-kernel.js";
import { openWasm } from "../../src/backends/wasm.js";
import { repositoryRoot } from "../shared.js";
import { importsOf } from "./sources.js";

const test = suite("registry");

/** The file names, without .ts, directly in a folder of the repository; index excepted. */
function stems(folder: string): string[] {
  return readdirSync(join(repositoryRoot, folder))
    .filter((name) => name.endsWith(".ts") && name !== "index.ts")
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

/** What measures the machine and is no operation of a backend. */
const NOT_OPERATIONS = ["peak"];

function text(path: string): string {
  return readFileSync(join(repositoryRoot, path), "utf8");
}

const REGISTRIES = ["methods", "quantizers", "models/families", "layouts", "statistics"];

for (const folder of REGISTRIES.map((name) => `src/${name}`)) {
  test(`${folder}/index.ts registers every file of its folder`, () => {
    const registered = importsOf(text(`${folder}/index.ts`))
      .filter(({ specifier }) => specifier.startsWith("./"))
      .map(({ specifier }) => specifier.slice(2, -".js".length))
      .sort();
    assert.ok(registered.length > 0);
    assert.equal(registered, stems(folder));
  });
}

test("what a registry imports is under its file's name", async () => {
  const { methods } = await import("../../src/methods/index.js");
  const { quantizers } = await import("../../src/quantizers/index.js");
  const { families } = await import("../../src/models/families/index.js");
  const { layouts } = await import("../../src/layouts/index.js");
  const { statistics } = await import("../../src/statistics/index.js");
  assert.equal(Object.keys(methods).sort(), stems("src/methods"));
  assert.equal(Object.keys(quantizers).sort(), stems("src/quantizers"));
  assert.is(Object.keys(statistics).length, stems("src/statistics").length);
  assert.equal(Object.keys(families).sort(), stems("src/models/families"));
  assert.is(Object.keys(layouts).length, stems("src/layouts").length);
});

test("assembly/index.ts lists every kernel", () => {
  const listed = importsOf(text("assembly/index.ts")).map(({ specifier }) => specifier);
  const kernels = stems("assembly/kernels").map((stem) => `./kernels/${stem}`);
  assert.ok(kernels.length > 0);
  assert.equal(listed.sort(), kernels);
});

/** What contracts of operations are made of. */
const CONTRACT_MACHINERY = ["contract", "rules"];

/** Groups of operations that no kernel computes. */
const WITHOUT_KERNEL: Readonly<Record<string, string>> = {
  scale: "each is one pass over memory, which the reference makes as fast",
  form: "each kernel is for a kind of form, under that one's name",
};

/** Kernels for whole forms; the reference decodes every form instead. */
const FORM_KERNELS = ["dense", "grid", "sandwich"];

test("every group of operations is joined, computed by the reference and a kernel, and tested", () => {
  const groups = stems("src/backends/operations").filter((s) => !CONTRACT_MACHINERY.includes(s));
  const joined = text("src/backends/operations/index.ts");
  const kernels = stems("assembly/kernels");
  const tests = stems("test/backends");
  assert.ok(groups.length > 10);
  for (const stem of groups) {
    const type = stem.replace(/(?:^|-)(.)/g, (_, first: string) => first.toUpperCase());
    const listed = new RegExp(`^ +(extends )?${type}Operations\\b`, "m");
    assert.match(joined, listed, `${stem} is not joined`);
    assert.ok(stems("src/backends/reference").includes(stem), `the reference has no ${stem}`);
    assert.ok(kernels.includes(stem) || WITHOUT_KERNEL[stem], `no kernel or reason: ${stem}`);
    assert.ok(tests.includes(`${stem}.test`), `test/backends has no ${stem}.test.ts`);
  }
});

for (const backend of ["reference", "wasm", "webgpu"]) {
  test(`src/backends/${backend}/index.ts joins every file that has operations`, () => {
    const folder = `src/backends/${backend}`;
    const joined = importsOf(text(`${folder}/index.ts`)).map(({ specifier }) => specifier);
    // The operations on forms need the backend itself, which opens them.
    const groups = stems("src/backends/operations").filter((stem) => stem !== "form");
    const expected = stems(folder).filter((stem) =>
      backend === "reference"
        ? groups.includes(stem)
        : text(`${folder}/${stem}.ts`).includes("export function bind("),
    );
    assert.equal(joined.sort(), expected.map((stem) => `./${stem}.js`).sort());
  });
}

for (const backend of ["reference", "wasm"]) {
  test(`every kernel has its namesake in the ${backend} backend`, () => {
    const there = stems(`src/backends/${backend}`);
    const kernels = stems("assembly/kernels").filter((stem) => !NOT_OPERATIONS.includes(stem));
    const spared = backend === "reference" ? FORM_KERNELS : [];
    const missing = kernels.filter((stem) => !there.includes(stem) && !spared.includes(stem));
    assert.equal(missing, [], `src/backends/${backend} has no ${missing.join(", ")}`);
  });
}

test("wasm has every operation, by a kernel or else the reference's", async () => {
  const kernels = stems("src/backends/wasm")
    .map((stem) => text(`src/backends/wasm/${stem}.ts`))
    .filter((source) => source.includes("export function bind("));
  const twice = Object.keys(withoutKernel).filter((name) =>
    kernels.some((source) => new RegExp(`^ +(async )?${name}[(]`, "m").test(source)),
  );
  assert.equal(twice, [], "they have kernels, which would not serve");
  const [wasm, reference] = [await openWasm({ threads: 1 }), await openReference()];
  assert.equal(Object.keys(wasm.ops).sort(), Object.keys(reference.ops).sort());
  for (const backend of [wasm, reference]) backend.dispose();
});

/** The WebGPU backend's own machinery, beside its groups of operations. */
const WEBGPU_MACHINERY = [
  "buffers",
  "device",
  "integer-codes",
  "on-host",
  "pipelines",
  "selection",
  "self-test",
  "shader-text",
  "stream",
  "stretches",
  "trailing",
];

test("every group of WebGPU operations has its namesake in the reference backend", () => {
  const others = [...WEBGPU_MACHINERY, ...FORM_KERNELS];
  const groups = stems("src/backends/webgpu").filter((stem) => !others.includes(stem));
  assert.ok(groups.length > 0);
  const unknown = groups.filter((stem) => !stems("src/backends/reference").includes(stem));
  assert.equal(unknown, [], `src/backends/reference has no ${unknown.join(", ")}`);
});

test("every shader is used by the WebGPU backend or another shader", () => {
  const shaders = readdirSync(join(repositoryRoot, "shaders")).filter((n) => n.endsWith(".wgsl"));
  assert.ok(shaders.length > 0);
  const users = stems("src/backends/webgpu").map((stem) => text(`src/backends/webgpu/${stem}.ts`));
  const includes = shaders.map((name) => text(`shaders/${name}`)).join("\n");
  const unused = shaders
    .map((name) => name.slice(0, -".wgsl".length))
    .filter((stem) => !users.some((user) => user.includes(`shader: "${stem}"`)))
    .filter((stem) => !includes.includes(`//: include ${stem}\n`));
  assert.equal(unused, []);
});

test("docs/methods.md names every method", () => {
  const words = new Set(text("docs/methods.md").match(/[\w-]+/g));
  const all = [...stems("src/methods"), ...stems("src/quantizers")];
  const missing = all.filter((stem) => !words.has(stem));
  assert.equal(missing, [], `docs/methods.md does not name ${missing.join(", ")}`);
});

test.run();
