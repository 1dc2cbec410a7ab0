/** Recipes: files in YAML and JSON, and values that a program gives. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { readRecipeFlags } from "../../src/cli/recipe-flags.js";
import { planRecipe, type Recipe, readRecipe } from "../../src/compress/recipe.js";
import { prunableLayers } from "../../src/compress/workload.js";
import { PenjingError } from "../../src/errors.js";
import { readModelConfig } from "../../src/models/families/index.js";
import type { Draw } from "./draw.js";
import { jsonText, mutateBytes, mutateTree, oddValue, Raw } from "./json.js";
import type { Case, Kind } from "./kind.js";
import { CONFIGS } from "./originals.js";

type Tree = Record<string, unknown>;

const RECIPES: readonly Tree[] = [
  { method: "sparsegpt", sparsity: "2:4", samples: 16, length: 32, seed: 3, layout: "two-four" },
  { method: "wanda", sparsity: "50%", ignore: ["lm_head", "*.down_proj"], statistics: "dense" },
  {
    ...{
      method: "magnitude",
      overrides: [{ match: "*.q_proj", sparsity: "1:4" }],
      layerError: false,
    },
    rotate: { steps: 3, scope: "shared" },
  },
  { method: "armor", options: { iterations: 12, learningRate: 0.001 }, stream: "bf16" },
  {
    ...{ version: 2, samples: 4, length: 16, seed: 1 },
    steps: [
      { rotate: { steps: 2 } },
      {
        prune: { method: "wanda" },
        match: ["*"],
        ignore: [],
        overrides: [{ match: "*.0.*", sparsity: 0.5 }],
      },
    ],
  },
  { version: 2, layout: "dense", steps: [{ prune: { method: "sparsegpt", sparsity: "4:8" } }] },
];

const GLOBS = [
  ...[
    "+(a|a)b",
    "*".repeat(200),
    "{a..zzzzz}",
    "{1..100000000}",
    "!(*)",
    "+(+(+(*)))x",
    "[",
    "(",
    "\\",
  ],
  ...[
    "**/**/**/**/*x",
    "@(a*|a*)*(a*|a*)*(a*|a*)z",
    "!(!(!(!(a))))",
    "",
    "{".repeat(300),
    "*(*(*(a)b)c)d",
  ],
  "(*a)".repeat(40),
  "?".repeat(70_000),
];

/** Texts that are YAML or nearly so. */
const TEXTS: readonly string[] = [
  "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nmethod: [*c,*c,*c,*c,*c]\n",
  "&a method: *a\n",
  "options: &o {iterations: 3}\nmethod: armor\nrotate: *o\n",
  "steps: &s\n  - *s\nversion: 2\n",
  "method: &m [*m]\n",
  "method: !!binary aGVsbG8=\n",
  "method: !!js/function 'function () {}'\n",
  "!!set {method, sparsity}\n",
  "!!omap [method: wanda]\n",
  "method: !custom wanda\n",
  "seed: !!int '12'\n",
  "seed: 2001-12-14\n",
  "? [a, b]\n: c\n",
  "? {a: b}\n: c\nmethod: wanda\n",
  "<<: {method: wanda}\nsparsity: '2:4'\n",
  "sparsity: 2:4\n",
  "sparsity: .inf\n",
  "samples: .nan\n",
  "samples: 0x10\nlength: 0o20\nseed: 1e3\n",
  "samples: 1_000\n",
  "method: wanda\nmethod: sparsegpt\n",
  "method: |\n  wanda\n",
  "method: >-\n  wanda\n",
  "--- {method: wanda}\n--- {method: sparsegpt}\n",
  "%YAML 1.1\n---\nlayerError: yes\n",
  "%TAG ! tag:x,2000:\n---\nmethod: !y z\n",
  "\ufeffmethod: wanda\n",
  "\tmethod: wanda\n",
  'method: wanda # a\nsparsity: "2:4"\n...\n',
  "null",
  "- method: wanda\n",
  'method: "\\e[31m\\0"\n',
  '"\\x1b[2J": 1\n',
  "__proto__: {method: wanda}\n",
  "constructor: {prototype: {a: 1}}\nmethod: wanda\n",
  "toString: 1\n",
  `${"[".repeat(5000)}${"]".repeat(5000)}`,
  `${"{a: ".repeat(3000)}1${"}".repeat(3000)}`,
  `method: ${"[".repeat(800)}${"]".repeat(800)}\n`,
  `options: ${"{iterations: ".repeat(400)}1${"}".repeat(400)}\nmethod: armor\n`,
  `${"- ".repeat(3000)}a\n`,
  `method: ${"x".repeat(300_000)}\n`,
  `${"x".repeat(300_000)}: wanda\n`,
  Array.from({ length: 20_000 }, (_, i) => `a${i}: 1`).join("\n"),
  `steps: [${"{prune: {}},".repeat(5000)}]\nversion: 2\n`,
  `overrides: [${"{match: '*', sparsity: '2:4'},".repeat(1000)}]\n`,
  `sparsity: "${"1".repeat(400)}:4"\n`,
  `sparsity: "${" ".repeat(50_000)}x"\n`,
  `sparsity: "${"9".repeat(50_000)}%"\n`,
];

class Odd {
  get method(): never {
    throw new PenjingError("recipe", "a getter");
  }
}

/** Values that no file holds, but a program may give. */
function givenValues(): unknown[] {
  const cyclic: Tree = { method: "wanda" };
  cyclic.options = cyclic;
  const list: unknown[] = [];
  list.push(list);
  let deep: unknown = 1;
  for (let i = 0; i < 20_000; i++) deep = [deep];
  const odd = [1n, Symbol("a"), () => 1, new Map([["a", 1]]), new Set(["a"]), new Date(Number.NaN)];
  const more = [new Uint8Array(3), Number.NaN, Number.POSITIVE_INFINITY, -0, new Error("a"), /a/];
  return [cyclic, list, deep, ...odd, ...more, Object.create(null), new Proxy({}, {}), new Odd()];
}

/** Every setting that a recipe gives stands in what was read. */
function compareScalars(given: unknown, read: Recipe): void {
  const written = JSON.stringify(read);
  const { samples, length, seed, layout, statistics, stream, layerError } =
    given as Partial<Recipe>;
  const settings = { samples, length, seed, layout, statistics, stream, layerError };
  for (const [key, value] of Object.entries(settings)) {
    if (value !== undefined) assert.is((read as unknown as Tree)[key], value, key);
  }
  const walk = (value: unknown, key: string): void => {
    if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value))
        walk(inner, Array.isArray(value) ? key : name);
    } else if (!["version", "sparsity"].includes(key) && value !== null && value !== undefined) {
      assert.ok(written.includes(JSON.stringify(value)), `${key}: ${value} is lost in ${written}`);
    }
  };
  walk(given, "");
}

const spec = readModelConfig("tiny", CONFIGS[0]);
const layers = prunableLayers(spec);

async function readValue(given: unknown): Promise<void> {
  const recipe = readRecipe(given);
  compareScalars(given, recipe);
  // What a recipe gives is a recipe.
  assert.equal(readRecipe(JSON.parse(JSON.stringify(recipe))), recipe);
  await planRecipe(recipe, spec, layers);
}

let folder: string | undefined;
function scratch(): string {
  if (!folder) {
    const made = mkdtempSync(join(tmpdir(), "penjing-recipes-"));
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  return join(folder, "recipe.yaml");
}

function withGlob(draw: Draw, recipe: Tree): Tree {
  const glob = draw.pick<unknown>([...GLOBS, oddValue(draw)]);
  const { version } = recipe;
  if (version !== 2) return { ...recipe, ignore: [glob] };
  return { ...recipe, steps: [{ prune: {}, [draw.pick(["match", "ignore"])]: [glob] }] };
}

/** Whether a tree can be written as YAML by the library. */
function hasRaw(value: unknown): boolean {
  if (value instanceof Raw) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(hasRaw);
}

async function recipeCase(draw: Draw): Promise<Case> {
  const recipe = draw.pick(RECIPES);
  const encode = (text: string) => new TextEncoder().encode(text);
  if (draw.chance(0.15)) {
    const changed = mutateTree(draw, recipe);
    const value = draw.chance(0.3) ? draw.pick(givenValues()) : undefined;
    const key = draw.pick(Object.keys(recipe));
    const given =
      value === undefined ? changed : draw.chance(0.3) ? value : { ...recipe, [key]: value };
    const shown = () => encode(String((given as object)?.constructor?.name));
    return { files: { value: shown() }, read: () => readValue(given) };
  }
  const changed = draw.chance(0.2) ? withGlob(draw, recipe) : mutateTree(draw, recipe);
  const spelled = hasRaw(changed) || draw.chance(0.5) ? jsonText(changed) : stringify(changed);
  const bytes = draw.pick<() => Uint8Array>([
    () => encode(spelled),
    () => encode(spelled),
    () => encode(draw.pick(TEXTS)),
    () => mutateBytes(draw, encode(spelled)),
  ])();
  return {
    files: { "recipe.yaml": bytes },
    async read() {
      const path = scratch();
      writeFileSync(path, bytes);
      await readValue(await readRecipeFlags({ recipe: path }));
    },
  };
}

export const recipes: Kind = { name: "recipe", share: 12, make: recipeCase };
