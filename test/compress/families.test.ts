import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { rotationRefusal } from "../../src/compress/rotate.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { exportModel } from "../../src/export.js";
import { methods } from "../../src/methods/index.js";
import { type BranchSpec, modelSites } from "../../src/model.js";
import { tensorSources } from "../../src/models/sources.js";
import { readModel } from "../../src/models/stored.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  gapOf,
  logitsOf,
  openFiles,
  TINY_FAMILIES,
  tinyFiles,
  tinyGolden,
  tinyTokenizer,
} from "../models/tiny-model.js";
import { askProgram, hasModules, withoutPython } from "../oracles/oracles.js";
import { note, skipUnless } from "../shared.js";
import { compressFiles, configOf, convert, type Files, floats, parseWeights } from "./stories.js";

const test = suite("compress/families");

const backend = await openWasm();

/** Options of methods whose defaults are for larger models. */
const OPTIONS: Readonly<Record<string, FlatRecipe>> = {
  armor: { options: { iterations: 3, blockSize: 16 } },
  "armor-hessian": { options: { rounds: 2, blockSize: 16 } },
};

const filesOf = (family: string): Files => ({ ...tinyFiles(family), ...tinyTokenizer() });

/** Compressed once, for several tests. */
const compressed = new Map<string, Promise<Files>>();

function compressedBy(family: string, method: string, more: FlatRecipe = {}): Promise<Files> {
  const recipe: FlatRecipe = { method, sparsity: "2:4", ...OPTIONS[method], ...more };
  const key = JSON.stringify([family, recipe]);
  const known = compressed.get(key);
  if (known) return known;
  const made = compressFiles(filesOf(family), recipe, { backend }).then(({ files }) => files);
  compressed.set(key, made);
  return made;
}

async function exported(files: Files, options: { layout?: string; reconstruct?: boolean }) {
  const out = memoryOutputFolder("out");
  await exportModel({ model: await openFiles(files), out, backend, ...options }).result();
  return out.files;
}

/** Names and shapes of the tensors of a folder. */
function shapesOf(files: Files): Record<string, string> {
  const { tensors } = parseWeights(files);
  const shapes = [...tensors].map(([name, { dtype, shape }]) => [name, `${dtype} [${shape}]`]);
  return Object.fromEntries(shapes.sort());
}

/** The linears of a folder by name, [outFeatures, inFeatures] whichever way they are stored. */
async function linearsOf(files: Files): Promise<Map<string, { cols: number; data: Float32Array }>> {
  const { spec } = readModel(await openFiles(files));
  const places = tensorSources(spec);
  const { tensors } = parseWeights(files);
  const linears = new Map<string, { cols: number; data: Float32Array }>();
  for (const [name, { shape }] of modelSites(spec)) {
    const [rows, cols] = shape;
    const stored = floats(tensors.get(`${name}.weight`)!);
    const isTurned = places.has(`${name}.weight`);
    const data = stored.map((_, i) => {
      return isTurned ? stored[(i % cols) * rows + Math.floor(i / cols)] : stored[i];
    });
    linears.set(name, { cols, data });
  }
  return linears;
}

for (const family of TINY_FAMILIES) {
  for (const method of Object.keys(methods)) {
    test(`${family} by ${method}: its own tensors come out, and run`, async () => {
      const { ids, logits } = await tinyGolden(family);
      const before = shapesOf(filesOf(family));
      const files = await compressedBy(family, method);
      const after = shapesOf(files);
      const isFactored = method.startsWith("armor");
      // Factors lie beside the family's tensors, or are multiplied out.
      const plain = isFactored ? await exported(files, { reconstruct: true }) : files;
      assert.equal(shapesOf(plain), before);
      if (!isFactored) assert.equal(after, before);
      const pruned = await logitsOf(backend, await openFiles(files), ids);
      const gap = gapOf(pruned, logits);
      assert.ok(gap > 1e-3 && gap < 2, `the logits moved by ${gap}`);
      const same = gapOf(await logitsOf(backend, await openFiles(plain), ids), pruned);
      // What is multiplied out is rounded to bf16.
      assert.ok(same <= (isFactored ? 0.1 : 0), `multiplied out, the logits differ by ${same}`);
    });
  }

  test(`${family}: every linear is 2:4 along its inputs, and keeps what it keeps`, async () => {
    const before = await linearsOf(filesOf(family));
    for (const [name, { cols, data }] of await linearsOf(await compressedBy(family, "magnitude"))) {
      const { data: old } = before.get(name)!;
      for (let i = 0; i < data.length; i += 4) {
        const group = [...data.subarray(i, i + 4)];
        assert.is(group.filter((value) => value === 0).length, 2, `${name}, ${i} of ${cols}`);
        assert.ok(group.every((value, j) => value === 0 || value === old[i + j]));
        const smallest = Math.min(...group.filter((value) => value !== 0).map(Math.abs));
        const removed = group.flatMap((value, j) => (value === 0 ? [Math.abs(old[i + j])] : []));
        assert.ok(removed.every((value) => value <= smallest));
      }
    }
  });

  test(`${family}: packed, it computes the same, and unpacks to what it was`, async () => {
    const { ids } = await tinyGolden(family);
    const dense = await compressedBy(family, "wanda");
    const packed = await compressedBy(family, "wanda", { layout: "two-four" });
    const expected = await logitsOf(backend, await openFiles(dense), ids);
    assert.ok(gapOf(await logitsOf(backend, await openFiles(packed), ids), expected) < 1e-5);
    const names = Object.keys(dense).filter((name) => name.endsWith(".safetensors"));
    const unpacked = await exported(packed, { layout: "dense" });
    for (const name of names) assert.equal(unpacked[name], dense[name], name);
    const again = await exported(dense, { layout: "two-four" });
    for (const name of names) assert.equal(again[name], packed[name], name);
  });

  test(`${family}: what a step leaves alone comes out as it was`, async () => {
    const before = parseWeights(filesOf(family)).tensors;
    const ignore = ["*.0.*"];
    const after = parseWeights(await compressedBy(family, "sparsegpt", { ignore })).tensors;
    const changed = [...before].filter(([name, { bytes }]) => {
      return Buffer.compare(bytes, after.get(name)!.bytes) !== 0;
    });
    const linears = [...(await linearsOf(filesOf(family))).keys()].filter((n) => !/\.0\./.test(n));
    assert.equal(changed.map(([name]) => name).sort(), linears.map((n) => `${n}.weight`).sort());
  });
}

test("without a text, windows may be longer than a table of positions", async () => {
  const out = memoryOutputFolder("out");
  const model = await openFiles(filesOf("gpt2"));
  const recipe: FlatRecipe = { method: "magnitude" };
  const { layers } = await compress({ model, out, recipe, backend }).result();
  assert.is(layers.length, 8);
  const { tensors } = parseWeights(await compressedBy("gpt2", "magnitude"));
  for (const [name, { bytes }] of parseWeights(out.files).tensors) {
    assert.is(Buffer.compare(bytes, tensors.get(name)!.bytes), 0, name);
  }
});

/** Why those cannot be rotated that cannot. */
const UNTURNED: Readonly<Record<string, RegExp>> = {
  gemma3_text: /gemma3_text cannot be rotated: it has norms behind its layers \(post_attention_/,
  gpt2: /gpt2 cannot be rotated: its LayerNorms \(ln_1\) subtract a mean/,
  gpt_neox: /gpt_neox cannot be rotated: its LayerNorms \(input_layernorm\) subtract a mean/,
  olmo2:
    /olmo2 cannot be rotated: .*behind its layers \(post_attention_layernorm\).*\(scope heads\)/,
  opt: /opt cannot be rotated: its LayerNorms \(self_attn_layer_norm\) subtract a mean/,
};

test("what else no rotation passes through is named", async () => {
  const specOf = async (family: string) => readModel(await openFiles(filesOf(family))).spec;
  /** A family's blocks with each branch changed. */
  const edited = async (family: string, edit: (branch: BranchSpec) => BranchSpec) => {
    const { finalNorm, ...spec } = await specOf(family);
    const blocks = spec.blocks.map(({ branches }) => ({ branches: branches.map(edit) }));
    return { ...spec, finalNorm: { ...finalNorm, kind: "rms" as const }, blocks };
  };
  const before = await edited("gemma3_text", ({ after: _, ...branch }) => branch);
  assert.match(rotationRefusal(before)!, /its norms \(input_layernorm\) are stored less 1/);
  const byHeads = await edited("gpt_neox", ({ layer }) => ({ layer }));
  assert.match(rotationRefusal(byHeads)!, /queries, keys and values lie head by head/);
  const plain = await edited("gpt2", ({ layer }) => ({ layer }));
  assert.match(rotationRefusal(plain)!, /what it learned of positions would have to turn/);
  assert.is(rotationRefusal({ ...plain, positions: undefined }), undefined);
  assert.is(rotationRefusal(plain, true), undefined);
  assert.match(rotationRefusal(byHeads, true)!, /queries, keys and values lie head by head/);
  const { finalNorm } = await specOf("gpt2");
  const odd = { ...plain, positions: undefined, finalNorm };
  assert.match(rotationRefusal(odd)!, /its LayerNorms \(ln_f\) subtract a mean/);
});

/** The files in F32, and what config.json says of that. */
async function exactFiles(family: string): Promise<Files> {
  const exact = await convert(filesOf(family), "F32");
  const config = { ...configOf(exact), dtype: "float32" };
  return { ...exact, "config.json": new TextEncoder().encode(JSON.stringify(config)) };
}

/** Names of the tensors whose bytes are others. */
function changedIn(files: Files, turned: Files): string[] {
  const [before, after] = [files, turned].map((one) => parseWeights(one).tensors);
  return [...before.keys()].filter(
    (name) => Buffer.compare(before.get(name)!.bytes, after.get(name)!.bytes) !== 0,
  );
}

for (const family of TINY_FAMILIES) {
  const recipe: FlatRecipe = {
    rotate: { scope: "heads", steps: 3 },
    method: "magnitude",
    sparsity: "0%",
  };
  if (family === "gpt_neox") {
    test(`${family}: heads that lie head by head are not turned`, async () => {
      const message = /gpt_neox cannot be rotated: .*; leave the rotation out/;
      await refused(() => compressFiles(filesOf(family), recipe), message);
    });
    continue;
  }
  test(`${family}: with its heads turned, it computes what it did`, async () => {
    const { ids } = await tinyGolden(family);
    const files = await exactFiles(family);
    const logits = await logitsOf(backend, await openFiles(files), ids);
    const turned = (await compressFiles(files, recipe, { backend })).files;
    const gap = gapOf(await logitsOf(backend, await openFiles(turned), ids), logits);
    assert.ok(gap < 1e-4, `the logits differ by ${gap}`);
    assert.equal(shapesOf(turned), shapesOf(files));
    const changed = changedIn(files, turned);
    assert.ok(changed.length > 1);
    for (const name of changed) {
      assert.match(name, /\.(v_proj|o_proj|out_proj|qkv_proj|c_attn|c_proj)\.(weight|bias)$/);
      assert.not.match(name, /mlp/);
    }
  });
}

for (const family of TINY_FAMILIES) {
  const refusal = UNTURNED[family];
  if (refusal) {
    test(`${family}: a rotation is refused by name`, async () => {
      for (const scope of ["block", "shared"]) {
        await refused(() => compressFiles(filesOf(family), { rotate: { scope } }), refusal);
      }
    });
    continue;
  }
  test(`${family}: turned, it computes what it did`, async () => {
    const { ids, logits } = await tinyGolden(family);
    const files = await exactFiles(family);
    for (const scope of ["block", "shared"]) {
      const rotate = { scope, steps: 3 };
      const recipe: FlatRecipe = { rotate, method: "magnitude", sparsity: "0%" };
      const turned = await compressFiles(files, recipe, { backend });
      const gap = gapOf(await logitsOf(backend, await openFiles(turned.files), ids), logits);
      assert.ok(gap < 1e-4, `${scope}: the logits differ by ${gap}`);
      const names = Object.keys(shapesOf(files));
      assert.ok(
        changedIn(files, turned.files).some((name) => /qkv_proj|v_proj/.test(name)),
        `${scope}: nothing is turned`,
      );
      const plain = await exported(turned.files, { reconstruct: true });
      assert.equal(
        Object.keys(shapesOf(plain)).filter((name) => name !== "lm_head.weight"),
        Object.keys(shapesOf(files)).filter((name) => name !== "lm_head.weight"),
      );
      const back = gapOf(await logitsOf(backend, await openFiles(plain), ids), logits);
      assert.ok(back < 1e-4, `${scope}: turned back, the logits differ by ${back}`);
      if (scope === "block") continue;
      const added = Object.keys(shapesOf(turned.files)).filter((name) => !names.includes(name));
      assert.ok(added.every((name) => name === "lm_head.weight"));
      outputs.set(`${family}, turned`, { files: turned.files, family });
    }
  });
}

/** Other settings for the same weights. */
const OTHERWISE: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  gemma3_text: {
    layer_types: ["full_attention", "sliding_attention", "full_attention"],
    rope_parameters: {
      full_attention: { rope_type: "default", rope_theta: 100 },
      sliding_attention: { rope_type: "default", rope_theta: 5000 },
    },
    sliding_window: 5,
  },
  gpt_neox: { use_parallel_residual: false },
  granite: {
    ...{ embedding_multiplier: 0.5, residual_multiplier: 1, attention_multiplier: 0.1 },
    rope_parameters: {
      ...{ rope_type: "llama3", rope_theta: 10000, factor: 8, low_freq_factor: 1 },
      ...{ high_freq_factor: 4, original_max_position_embeddings: 32 },
    },
  },
  granitemoehybrid: { position_embedding_type: "nope" },
  olmo2: {
    rope_parameters: {
      ...{ rope_type: "yarn", rope_theta: 10000, factor: 4 },
      original_max_position_embeddings: 64,
    },
  },
  phi3: {
    ...{ partial_rotary_factor: 0.5, sliding_window: null },
    rope_parameters: { rope_type: "default", rope_theta: 1000, partial_rotary_factor: 0.5 },
  },
  smollm3: {
    ...{ no_rope_layers: [0, 1, 0], use_sliding_window: true, sliding_window: 6 },
    layer_types: ["sliding_attention", "full_attention", "full_attention"],
  },
};

/** Folders that transformers is asked about. */
const outputs = new Map<string, { readonly files: Files; readonly family: string }>();

test("windows begin with the token that a family needs, and perplexity too", async () => {
  const needed: Readonly<Record<string, number>> = { gemma3_text: 1, opt: 2 };
  for (const family of TINY_FAMILIES) {
    const files = await compressedBy(family, "wanda");
    const side = JSON.parse(new TextDecoder().decode(files["penjing.json"]));
    assert.is(side.calibration.bosId, needed[family], family);
    const model = await openFiles(filesOf(family));
    const options = { model, text: "Once upon a time there was a cat.", window: 16, backend };
    const { bosId, perplexity } = await evaluatePerplexity(options).result();
    assert.is(bosId, needed[family], family);
    assert.ok(Number.isFinite(perplexity));
  }
});

skipUnless(
  test,
  hasModules("torch", "transformers"),
  withoutPython("torch", "transformers"),
  "transformers opens what comes out, and computes the same logits; with other settings too",
  async () => {
    for (const family of TINY_FAMILIES) {
      for (const method of ["sparsegpt", "armor"]) {
        const files = await compressedBy(family, method);
        const plain = method === "armor" ? await exported(files, { reconstruct: true }) : files;
        outputs.set(`${family}, ${method}`, { files: plain, family });
      }
    }
    for (const [family, changes] of Object.entries(OTHERWISE)) {
      const files = filesOf(family);
      const text = JSON.stringify({ ...configOf(files), ...changes });
      const other = { ...files, "config.json": new TextEncoder().encode(text) };
      outputs.set(`${family} otherwise`, { files: other, family });
    }
    const place = mkdtempSync(join(tmpdir(), "penjing-families-"));
    try {
      const questions: { readonly folder: string; readonly ids: readonly number[] }[] = [];
      for (const [i, { files, family }] of [...outputs.values()].entries()) {
        const folder = join(place, String(i));
        mkdirSync(folder);
        for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
        questions.push({ folder, ids: [...(await tinyGolden(family)).ids] });
      }
      const answers = askProgram(questions, "models", "logits.py") as readonly {
        readonly odd: readonly string[];
        readonly logits: readonly number[];
      }[];
      let furthest = 0;
      for (const [i, [what, { files }]] of [...outputs].entries()) {
        assert.equal(answers[i].odd, [], what);
        const expected = Float32Array.from(answers[i].logits);
        const ids = Int32Array.from(questions[i].ids);
        const gap = gapOf(await logitsOf(backend, await openFiles(files), ids), expected);
        furthest = Math.max(furthest, gap);
        assert.ok(gap < 2e-5, `${what}: the logits differ by ${gap}`);
      }
      note(
        `${outputs.size} folders in transformers: largest |logit difference| / largest |logit| ${furthest.toExponential(1)}`,
      );
    } finally {
      rmSync(place, { recursive: true });
    }
  },
);

test.run();
