// Numbers of config.json that do not change are written as they were.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import { configText } from "../../src/checkpoint/config-text.js";
import { type CompressOptions, exportModel, type FlatRecipe } from "../../src/index.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { compressFiles, type Files } from "../compress/stories.js";
import { openFiles, tinyFiles, tinyTokenizer } from "../models/tiny-model.js";
import { askProgram, hasModules, withoutPython } from "../oracles/oracles.js";
import { skipUnless } from "../shared.js";

const test = suite("config.json written anew");

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What becomes of a text whose values change. */
function changed(text: string, change: (config: never) => unknown): Promise<string> {
  const folder = memoryFolder({ "config.json": encode(text) });
  return configText(folder, change(JSON.parse(text) as never));
}

/** Spellings that JSON.stringify does not give back. */
const SPELLINGS = [
  ...["0.0", "-0", "-0.0", "1.0", "1e-05", "1e5", "1E+5", "100e-2", "0.10", "1e400"],
  ...["9007199254740993", "123456789012345678901234567890", "0.1000000000000000055511151231257827"],
];

test("every spelling stays, in objects and lists, and what changes is as JSON.stringify has it", async () => {
  for (const number of SPELLINGS) {
    const text = `{\n  "a": ${number},\n  "b": [\n    ${number},\n    {\n      "c": ${number}\n    }\n  ],\n  "d": "${number}",\n  "e": 2.0\n}\n`;
    assert.is(await changed(text, (config) => config), text);
    const other = await changed(text, (config: { a: unknown; e: number }) => {
      return { ...config, e: 3, f: [Number(number) || 0.5, 1e21] };
    });
    assert.ok(other.startsWith(text.slice(0, text.indexOf("2.0"))), other);
    assert.ok(other.includes('"e": 3,'), other);
    const { f } = JSON.parse(other);
    if (Number.isFinite(Number(number))) assert.is(f[0], Number(number) || 0.5);
  }
  const moved = await changed('{"list": [1.0, 2.0], "gone": 1.0}', () => ({
    list: [2, 2],
    gone: "",
  }));
  assert.is(moved, '{\n  "list": [\n    2,\n    2.0\n  ],\n  "gone": ""\n}\n');
});

test("texts and keys that look like numbers are none", async () => {
  const text = '{"1.0":"1.0","a\\"1.0":"\\\\","\\\\":1.0,"b":"\\u00001.0"}';
  const again = await changed(text, (config) => config);
  assert.equal(JSON.parse(again), JSON.parse(text));
  assert.match(again, /"\\\\": 1\.0/);
  const number = await changed(text, (config: object) => ({ ...config, b: 1 }));
  assert.is(JSON.parse(number).b, 1);
});

test("any JSON is written as JSON.stringify does where numbers are spelled its way", async () => {
  const check = async (value: unknown) => {
    const config = JSON.parse(JSON.stringify({ value }));
    const text = JSON.stringify(config);
    const plain = `${JSON.stringify(config, null, 2)}\n`;
    assert.is(await changed(text, (same) => same), plain);
    // Nothing of what stood there before is taken for another value.
    assert.is(
      await configText(memoryFolder({ "config.json": encode('{"value":5.0}') }), config),
      plain,
    );
  };
  const values = fc.jsonValue({ maxDepth: 6 }).filter((value) => value !== 5);
  await fc.assert(fc.asyncProperty(values, check), { numRuns: 300 });
});

/** As transformers 5 saves it, and numbers that are easily lost. */
const ODD = [
  '"time_step_limit": [0.0, {"__float__": "Infinity"}]',
  '"router_aux_loss_coef": 1e-05',
  '"embedding_multiplier": 1e1',
  '"revision_number": 9007199254740993',
];

function oddModel(): Record<string, Uint8Array> {
  const files = { ...tinyFiles("granitemoehybrid"), ...tinyTokenizer() };
  const {
    router_aux_loss_coef: _,
    embedding_multiplier: __,
    ...config
  } = JSON.parse(decode(files["config.json"]));
  const text = JSON.stringify({ ...config, tie_word_embeddings: true }).replace(
    '"attention_dropout":0',
    '"attention_dropout":0.0',
  );
  return { ...files, "config.json": encode(`${text.slice(0, -1)},${ODD.join()}}`) };
}

const backend = await openWasm();

/** Makes the head another matrix than the embedding. */
const ROTATE = { scope: "shared", steps: 2, objective: "magnitude" } as const;

/** How a model may come out, with what its config.json then has. */
const WAYS: readonly (readonly [string, Pick<CompressOptions, "dtype"> & FlatRecipe, string])[] = [
  ["rotated", { rotate: ROTATE }, '"tie_word_embeddings": false'],
  ["in another dtype", { dtype: "f32" }, '"dtype": "float32"'],
  ["packed for others", { layout: "sparse-24-bitmask" }, '"quantization_config": {'],
];

/** What each way gives. */
async function written({ dtype, ...more }: (typeof WAYS)[number][1]): Promise<Files> {
  const recipe: FlatRecipe = { method: "magnitude", sparsity: "2:4", ...more };
  return (await compressFiles(oddModel(), recipe, { backend, dtype })).files;
}

function assertKept(text: string): void {
  for (const kept of ['"attention_dropout": 0.0', ": 1e-05", ": 1e1", ": 9007199254740993"]) {
    assert.ok(text.includes(kept), `${kept} in ${text}`);
  }
  assert.match(text, /"time_step_limit": \[\s*0\.0,\s*\{\s*"__float__": "Infinity"\s*\}\s*\]/);
}

for (const [how, options, change] of WAYS) {
  test(`a model that is ${how} keeps the numbers of its config.json`, async () => {
    const text = decode((await written(options))["config.json"]);
    assert.ok(text.includes(change), text);
    assertKept(text);
  });
}

test("what is exported from a packed model keeps them as well", async () => {
  const model = await openFiles(await written({ layout: "sparse-24-bitmask" }));
  const out = memoryOutputFolder("out");
  await exportModel({ model, out, backend, layout: "dense" }).result();
  const text = decode(out.files["config.json"]);
  assert.not.match(text, /quantization_config/);
  assertKept(text);
});

skipUnless(
  test,
  hasModules("transformers"),
  withoutPython("transformers"),
  "transformers takes the config.json of a rotated model, and would not with 0 for 0.0",
  async () => {
    const text = decode((await written({ rotate: ROTATE }))["config.json"]);
    const folder = mkdtempSync(join(tmpdir(), "penjing-config-"));
    try {
      const folders = [text, text.replace(/\b0\.0,/g, "0,")].map((config, i) => {
        const path = join(folder, String(i));
        mkdirSync(path);
        writeFileSync(join(path, "config.json"), config);
        return path;
      });
      const [kept, lost] = askProgram({ folders }, "checkpoint", "config.py") as object[];
      assert.equal(kept, { limits: ["float 0.0", "float inf"] });
      assert.match(JSON.stringify(lost), /"error".*time_step_limit/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test.run();
