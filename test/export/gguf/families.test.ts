// Small models of every family as GGUF files: what is read back is what was written.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends } from "../../../src/backends/index.js";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.js";
import { PenjingError } from "../../../src/errors.js";
import { gapOf, logitsOf, openFiles, tinyFiles, tinyGolden } from "../../models/tiny-model.js";
import { note } from "../../shared.js";
import { exportGguf, openExported, openTiny, tinyWith, WRITTEN } from "./exported.js";

const test = suite("families as GGUF");

/** Largest accepted difference of a logit, as a share of the largest. */
const TOLERANCE: Readonly<Record<string, number>> = {
  ...{ F32: 1e-6, BF16: 1e-6, F16: 1e-4, Q8_0: 0.15 },
};

async function logits(model: Checkpoint, ids: Int32Array): Promise<Float32Array> {
  const backend = await backends.wasm({ threads: 1, simd: "baseline" });
  try {
    return await logitsOf(backend, model, ids);
  } finally {
    backend.dispose();
  }
}

for (const family of WRITTEN) {
  test(`${family}: the logits of what is read back`, async () => {
    const given = await openTiny(family);
    const { ids } = await tinyGolden(family);
    const expected = await logits(given, ids);
    const gaps: string[] = [];
    for (const [ggufType, tolerance] of Object.entries(TOLERANCE)) {
      const exported = await exportGguf(given, { ggufType });
      const found = await openExported(exported);
      const gap = gapOf(await logits(found, ids), expected);
      gaps.push(`${ggufType} ${gap.toExponential(1)}`);
      assert.ok(gap <= tolerance, `${ggufType}: the logits differ by ${gap} of the largest`);
    }
    note(`${family}: ${gaps.join(", ")}`);
  });
}

test("in F32 every tensor has its bits", async () => {
  for (const family of WRITTEN.filter((one) => one !== "granitemoehybrid")) {
    const given = await openTiny(family);
    const found = await openExported(await exportGguf(given, { ggufType: "F32" }));
    assert.equal([...found.tensors.keys()].sort(), [...given.tensors.keys()].sort(), family);
    for (const name of given.tensors.keys()) {
      const [values, expected] = [await found.readFloat32(name), await given.readFloat32(name)];
      assert.equal(found.tensors.get(name)!.shape, given.tensors.get(name)!.shape, name);
      // To add 1 and to take it away rounds.
      const tolerance = family === "gemma3_text" ? 2e-7 : 0;
      const worst = expected.reduce((most, one, i) => Math.max(most, Math.abs(one - values[i])), 0);
      assert.ok(worst <= tolerance, `${family} ${name}: ${worst}`);
    }
  }
});

const REFUSED: readonly (readonly [string, string, Record<string, unknown>, RegExp])[] = [
  [
    "a family without an architecture",
    "opt",
    {},
    /a model of the family opt, for which there is no GGUF architecture .* gemma3_text, gpt2/,
  ],
  [
    "scores that are scaled otherwise",
    "gemma3_text",
    {},
    /scale of scores \(attention\) of layer 0: 0\.333\d* would be read as 0\.25.*"gemma3" has no words/,
  ],
  [
    "layers without rotation that llama.cpp rotates",
    "smollm3",
    {},
    /rope \(attention\) of layer 1: null would be read as \{.*"smollm3" has no words/,
  ],
  ["a gpt_neox of another activation", "gpt_neox", { hidden_act: "relu" }, /hidden_act is "relu"/],
  [
    "granite without rotation",
    "granitemoehybrid",
    { position_embedding_type: "nope" },
    /rope \(attention\) of layer 0: null would be read/,
  ],
];

for (const [what, family, changes, message] of REFUSED) {
  test(`${what}: refused before any work`, async () => {
    const given = await openFiles(tinyWith(family, changes));
    const error = await exportGguf(given).then(
      () => undefined,
      (reason) => reason,
    );
    assert.instance(error, PenjingError);
    assert.match(error.message, message);
  });
}

test("what llama.cpp does otherwise is said", async () => {
  const phi = await exportGguf(await openFiles(tinyFiles("phi3")));
  assert.match(phi.notes.join("\n"), /its attention sees 20 positions, but llama\.cpp/);
  const changes = { query_pre_attn_scalar: 16 };
  const gemma = await exportGguf(await openFiles(tinyWith("gemma3_text", changes)));
  assert.match(
    gemma.notes.join("\n"),
    /embeddings are scaled by 8\.9375, which is 8\.94\d+ rounded/,
  );
  assert.match(gemma.notes.join("\n"), /has no tokenizer, and so has the file/);
});

test("rows that are no whole blocks stay F16, and a note says so", async () => {
  const given = await openTiny("gemma3_text");
  const { notes, packed, files } = await exportGguf(given, { ggufType: "Q4_0" });
  const found = await openExported({ files, notes, packed, bytesAfter: 0 });
  const types = [...found.tensors.values()].map(({ name, stored }) => [name, stored!.type]);
  assert.is(types.find(([name]) => name.includes("embed"))![1], "F16");
  assert.is(types.find(([name]) => name.includes("layers.1.mlp.down_proj"))![1], "Q4_0");
  assert.match(
    notes.join("\n"),
    /16 tensors have rows that are no whole blocks of 32 weights and stay F16; the first: token_embd\.weight with 80 columns/,
  );
});

test.run();
