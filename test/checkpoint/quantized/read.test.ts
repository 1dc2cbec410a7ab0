// Quantized checkpoints that other programs wrote: the same numbers come out of them.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { compress } from "../../../src/compress.js";
import { evaluatePerplexity } from "../../../src/evaluate.js";
import { exportModel } from "../../../src/export.js";
import { generate } from "../../../src/generate.js";
import { inspect } from "../../../src/inspect.js";
import { openModel } from "../../../src/models/open.js";
import { memoryOutputFolder } from "../../../src/platform/files.js";
import { EVALUATION, type Files, parseWeights } from "../../compress/stories.js";
import { skipUnless } from "../../shared.js";
import { refused } from "../crafted.js";
import {
  ask,
  BASE,
  HAS_PYTHON,
  hasValues,
  tensorsAt,
  WITHOUT_PYTHON,
  withFolder,
} from "./folders.js";

const test = suite("quantized checkpoints of other programs");

/** Every combination of these. */
function waysOf(bits: readonly number[], groupSizes: readonly (number | null)[]) {
  return bits.flatMap((bits) =>
    [true, false].flatMap((symmetric) =>
      groupSizes.map((groupSize) => ({ bits, symmetric, groupSize })),
    ),
  );
}

const COMPRESSED = [
  // A way for each of the 28 layers.
  { path: "new", format: "pack-quantized", ways: waysOf([2, 3, 4, 5, 6, 7, 8], [32, null]) },
  {
    path: "old",
    format: "pack-quantized",
    old: true,
    ways: waysOf([2, 3, 5, 6, 7, 8], [64, null]),
  },
  { path: "int", format: "int-quantized", ways: [{ bits: 8, symmetric: true, groupSize: null }] },
  { path: "asymmetric", format: "int-quantized", ways: waysOf([8], [null, 32]) },
];

skipUnless(test, HAS_PYTHON, WITHOUT_PYTHON, "compressed-tensors, of today and before", () =>
  withFolder(async (root) => {
    const made = COMPRESSED.map((one) => ({ ...one, path: join(root, one.path) }));
    assert.is(ask({ base: BASE, made }, "compressed.py"), "0.20.1");
    for (const { path } of made) {
      const expected = tensorsAt(path, "expected");
      assert.is(expected.size, 28);
      await hasValues(path, expected, path);
    }
    const widths = (path: string) =>
      [...tensorsAt(root, path)]
        .filter(([name]) => name.endsWith("packed"))
        .map(([, { shape }]) => shape[1]);
    assert.not.equal(widths("old"), widths("new"));
    const { layout, forms } = await inspect(join(root, "int")).result();
    assert.is(layout, "int-quantized");
    assert.is(forms["model.layers.0.mlp.up_proj.weight"], "dense x int8");
  }),
);

interface Gptq {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly groupSize: number;
  readonly format?: string;
  readonly zeros?: string;
  readonly order?: string;
}

const GPTQ: readonly Gptq[] = [
  ...[2, 3, 4, 8].flatMap((bits) =>
    [true, false].flatMap((symmetric) => [
      { bits, symmetric, groupSize: 32, format: "gptq" },
      { bits, symmetric, groupSize: -1, format: "gptq_v2", order: "none" },
    ]),
  ),
  { bits: 4, symmetric: false, groupSize: 64 },
  { bits: 4, symmetric: true, groupSize: 32, format: "gptq", zeros: "gptq_v2" },
  { bits: 4, symmetric: true, groupSize: 32, zeros: "none" },
  { bits: 4, symmetric: true, groupSize: 32, order: "act" },
  { bits: 3, symmetric: false, groupSize: 64, order: "act", format: "gptq_v2" },
];

skipUnless(test, HAS_PYTHON, WITHOUT_PYTHON, "GPTQ of both versions, act-order too", () =>
  withFolder(async (root) => {
    const made = GPTQ.map((one, i) => ({ method: "gptq", ...one, path: join(root, String(i)) }));
    ask({ base: BASE, made }, "packers.py");
    for (const { path, ...how } of made) {
      const what = JSON.stringify(how);
      await hasValues(path, tensorsAt(path, "expected"), what);
      const checkpoint = await openCheckpoint(path);
      const isOrdered = how.order === "act";
      assert.is(Object.keys(checkpoint.forms as object).length, isOrdered ? 0 : 28, what);
      const said = checkpoint.notes.join("; ");
      assert.is(/28 of its 28 quantized weights .* \(act-order\)/.test(said), isOrdered, what);
      const isOther = how.zeros === "gptq_v2";
      assert.is(/says checkpoint_format gptq, but .* as gptq_v2/.test(said), isOther, what);
      await checkpoint.close();
    }
  }),
);

skipUnless(test, HAS_PYTHON, WITHOUT_PYTHON, "AWQ", () =>
  withFolder(async (root) => {
    const made = [
      { symmetric: false, groupSize: 32 },
      { symmetric: false, groupSize: -1 },
      { symmetric: true, groupSize: 128, zeros: "none" },
      { symmetric: true, groupSize: 64 },
    ].map((one, i) => ({ method: "awq", ...one, path: join(root, String(i)) }));
    ask({ base: BASE, made }, "packers.py");
    for (const { path, ...how } of made) {
      await hasValues(path, tensorsAt(path, "expected"), JSON.stringify(how));
    }
  }),
);

skipUnless(test, HAS_PYTHON, WITHOUT_PYTHON, "is looked at, run, compressed and exported", () =>
  withFolder(async (root) => {
    const path = join(root, "gptq");
    const how = { method: "gptq", bits: 4, symmetric: false, groupSize: 32, path };
    ask({ base: BASE, made: [how] }, "packers.py");
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      copyFileSync(join(BASE, name), join(path, name));
    }
    const looked = await inspect(path).result();
    assert.is(Object.keys(looked.forms).length, 28);
    assert.is(looked.forms["model.layers.3.mlp.down_proj.weight"], "dense x int4 by 32 with zeros");
    const packed = looked.tensors.find(({ name }) => name.endsWith("up_proj.weight_packed"))!;
    assert.is(packed.storedAs, "gptq int4");
    const text = EVALUATION.slice(0, 2000);
    const score = async (model: string) =>
      (await evaluatePerplexity({ model, text }).result()).perplexity;
    const [dense, quantized] = [await score(BASE), await score(path)];
    assert.ok(
      quantized !== dense && Math.abs(quantized / dense - 1) < 0.1,
      `${dense}, ${quantized}`,
    );
    const model = await openModel(path);
    const { text: said } = await generate({ model, prompt: "Once", maxNewTokens: 8 }).result();
    assert.ok(said.length > 0);
    await model.close();

    // As floats of the scales' dtype, or of another.
    const expected = tensorsAt(path, "expected");
    const name = "model.layers.1.self_attn.k_proj.weight";
    const recipe = { method: "magnitude", sparsity: "0%", ignore: ["*.mlp.*"] } as const;
    await refused(
      () => compress({ model: path, out: memoryOutputFolder(), recipe }).result(),
      /q_proj is quantized already .* first with `penjing export --reconstruct` or give `dtype`/,
    );
    for (const [dtype, stored] of [
      ["f16", "F16"],
      ["f32", "F32"],
      ["bf16", "BF16"],
    ] as const) {
      const out = memoryOutputFolder();
      await compress({ model: path, out, dtype, recipe }).result();
      const weight = parseWeights(out.files as Files).tensors.get(name)!;
      assert.is(weight.dtype, stored);
      if (stored === "F32") assert.is(Buffer.compare(weight.bytes, expected.get(name)!.bytes), 0);
      const config = JSON.parse(new TextDecoder().decode(out.files["config.json"]));
      assert.not("quantization_config" in config);
    }

    // As codes, for penjing and for others.
    for (const layout of [undefined, "grouped-int", "pack-quantized"]) {
      const out = join(root, `out-${layout}`);
      const result = await exportModel({ model: path, out, layout }).result();
      assert.is(result.layoutAfter, layout ?? "grouped-int");
      await runsAlike(out, path);
    }
    const opened = join(root, "out-pack-quantized");
    assert.equal(ask([{ path: opened, runs: false }], "opened.py"), [28]);
    await hasValues(path, tensorsAt(opened, "opened"), "pack-quantized of GPTQ");
  }),
);

/** Two folders run to the same figures. */
async function runsAlike(one: string, other: string): Promise<void> {
  const [first, second] = [one, other].map((model) =>
    evaluatePerplexity({ model, text: EVALUATION.slice(0, 1000) }).result(),
  );
  assert.is((await first).perplexity, (await second).perplexity);
}

test.run();
