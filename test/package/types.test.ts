import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeConsumer } from "../runtimes/consumer.js";
import { repositoryRoot } from "../shared.js";

const test = suite("types");
const consumer = makeConsumer(test);

/** What a user writes, and what must not compile. */
const PROGRAM = `
import {
  type CompressOptions, compress, evaluatePerplexity, exportModel, generate, generateBatch,
  importanceMatrix, type LayoutName, type MethodName, type OpenBackend, openBackend, openModel,
  packMatrix, pruneLinear, type Recipe, type StoppedBy, PenjingError,
} from "penjing";
import { definePlugin, type Method, PenjingError as KitError, type PruneOutcome } from "penjing/kit";

declare const signal: AbortSignal | undefined;
declare const name: string;
const recipe = { version: 2, steps: [{ prune: { method: "wanda", sparsity: "2:4" } }] } as const;
const options: CompressOptions = {
  model: "m", out: "o", calibration: "text", recipe, signal, budget: undefined,
};
compress(options);
export const same: typeof PenjingError = KitError;
declare const outcome: PruneOutcome;
const method: Method = {
  name: "my-method", summary: "is mine", source: "none", options: {},
  needs: () => [], prune: async () => outcome,
};
const plugin = definePlugin({ name: "my-plugin", version: "1.0.0", methods: [method] });
compress({ ...options, plugins: [plugin] });
const backend: OpenBackend = await openBackend("wasm", { threads: 1 });
const model = await openModel("m", { backend, signal });
generate({ model, prompt: "Once", seed: undefined });
const prompts = ["Once", [{ role: "user", content: "Hi" }]];
const batch = generateBatch({ model, prompts, batch: 4, signal });
for await (const event of batch) if (event.type === "generated") console.log(event.index, event.text);
export const ends: readonly StoppedBy[] = (await batch.result()).texts.map((one) => one.stoppedBy);
evaluatePerplexity({ model, text: "Once" });
// The names that penjing has, and any that a plug-in brings.
pruneLinear({ weight: new Float32Array(8), rows: 1, cols: 8, method: "my-method", sparsity: "3:8" });
exportModel({ model: "m", out: "o", layout: name });
importanceMatrix({ model: "m", out: "i.gguf", calibration: "text", sampling: "random" });
packMatrix("my-layout", { weight: new Float32Array(8), rows: 1, cols: 8 });
compress({ ...options, recipe: { method: "my-method", sparsity: 0.5, layout: "my-layout" } });
export const complete: (recipe: Recipe) => string = ({ layout }) => layout;
export const methods: readonly MethodName[] = ["magnitude", "armor-hessian"];
export const layouts: readonly LayoutName[] = ["two-four", "cutlass+pad"];

// @ts-expect-error no such option
compress({ ...options, calibraton: "text" });
// @ts-expect-error the output is missing
compress({ model: "m", calibration: "text" });
// @ts-expect-error no such statistics
compress({ ...options, recipe: { statistics: "sparse" } });
// @ts-expect-error no such backend
openModel("m", { backend: "wams" });
// @ts-expect-error rows must be a number
pruneLinear({ weight: new Float32Array(8), rows: "1", cols: 8 });
// @ts-expect-error no such method is in the list
export const wrong: MethodName = "my-method";
// @ts-expect-error what computes a model is not shown
model.decoder;
// @ts-expect-error nor are operations
backend.ops;
`;

const RESOLUTIONS = [
  { module: "esnext", moduleResolution: "bundler" },
  { module: "nodenext", moduleResolution: "nodenext" },
];
/** With what a browser has, and with what Node has. */
const PLACES = [
  { lib: ["es2022", "dom", "dom.asynciterable"], types: [] },
  { lib: ["es2022"], types: ["node"] },
];

for (const resolution of RESOLUTIONS) {
  for (const place of PLACES) {
    const { moduleResolution } = resolution;
    const where = place.types.length > 0 ? "Node's types" : "a browser's";
    test(`both faces type-check under ${moduleResolution} with ${where}`, async () => {
      const folder = await consumer();
      const project = join(folder, `${moduleResolution}-${place.types.length}`);
      fs.mkdirSync(project);
      const checks = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false };
      const compilerOptions = {
        ...{ ...resolution, ...place, ...checks, target: "es2022", noEmit: true },
        typeRoots: [join(repositoryRoot, "node_modules", "@types")],
      };
      const json = JSON.stringify({ compilerOptions, files: ["program.ts"] });
      fs.writeFileSync(join(project, "tsconfig.json"), json);
      fs.writeFileSync(join(project, "package.json"), '{ "type": "module" }');
      fs.writeFileSync(join(project, "program.ts"), PROGRAM);
      const tsc = join(repositoryRoot, "node_modules", "typescript", "bin", "tsc");
      const child = spawnSync(process.execPath, [tsc, "-p", project], { encoding: "utf8" });
      assert.is(child.status, 0, child.stdout);
    });
  }
}

/** Names that a declaration file exports, and the types that it declares. */
function namesOf(text: string) {
  const lists = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, list]) =>
    list.split(",").map((one) =>
      one
        .trim()
        .split(" as ")
        .at(-1)!
        .replace(/^type /, ""),
    ),
  );
  const declared = [...text.matchAll(/^(?:declare )?(?:interface|type|class) (\w+)(.*)$/gm)];
  return { exported: new Set(lists), declared };
}

test("every type that the users' face needs has a name in it", async () => {
  const { rollup } = await import("rollup");
  const { dts } = await import("rollup-plugin-dts");
  const input = join(repositoryRoot, "build", "types", "src", "index.d.ts");
  const alone = await rollup({ input, plugins: [dts()] });
  const { output } = await alone.generate({ format: "es" });
  const { exported, declared } = namesOf(output[0].code);
  assert.ok(exported.has("compress") && exported.has("CompressOptions"));
  // What is computed from other types has parameters, or stands for descriptions of options.
  const machinery = [
    "ValueOf",
    "GivenValue",
    "Brought",
    "Settings",
    "StepSpecs",
    "PruneSpecs",
    "QuantizeSpecs",
  ];
  const hidden = declared.map(([, name]) => name).filter((name) => !exported.has(name));
  assert.equal(
    hidden.filter((name) => !machinery.includes(name)),
    [],
  );
});

test("an option that may be left out may be undefined too", () => {
  const text = fs.readFileSync(join(repositoryRoot, "build", "faces.d.ts"), "utf8");
  // A type in braces may hold options of its own, which are looked at too.
  const pattern = /(?=\b(readonly \w+\?: (?:\{[^{}]*\}|[^;{}])*;))/g;
  const optional = [...text.matchAll(pattern)].map(([, option]) => option);
  assert.ok(optional.length > 50);
  assert.equal(
    optional.filter((line) => !/undefined;$/.test(line)),
    [],
  );
});

test.run();
