import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { attentionOf, sitesOf } from "../../src/model.js";
import { BlockRunner, type BlockWeights, Decoder } from "../../src/models/decoder.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock, loadOuter } from "../../src/models/load.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import {
  type BlockRotation,
  rotateBlock,
  rotateStatistics,
  turnColumns,
} from "../../src/rotation/apply.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import { type BlockLinear, rotatedInputs } from "../../src/rotation.js";
import { statistics as known } from "../../src/statistics/index.js";
import { StatisticsGatherer } from "../../src/statistics-gatherer.js";
import type { Tensor } from "../../src/tensor.js";
import { note, sharedPath, sharedTest } from "../shared.js";
import { addBoth, foldBlock, foldedModel, realModel, TURNED } from "./blocks.js";
import { randomOrthogonal } from "./random.js";

const test = suite("rotation apply");

/** An arbitrary orthogonal Q, the same for all blocks, and arbitrary R2. */
function randomRotation(
  backend: Backend,
  { hiddenSize, blocks }: Decoder["spec"],
  layer: number,
): BlockRotation {
  const { heads, kvHeads, headDim } = attentionOf(blocks[layer]);
  const q = Float32Array.from(randomOrthogonal(hiddenSize, 1));
  const r2 = Array.from({ length: kvHeads }, (_, h) => [
    ...randomOrthogonal(headDim, 100 * layer + h),
  ]);
  return {
    q: backend.upload(q, [hiddenSize, hiddenSize]),
    r2: backend.upload(Float32Array.from(r2.flat()), [kvHeads * headDim, headDim]),
    heads: { heads, kvHeads, headDim },
  };
}

function linearsOf(block: BlockWeights): Record<string, BlockLinear> {
  return block.linears as Record<string, BlockLinear>;
}

/** Largest difference of the logits before and after rotating all of a model, over the largest. */
async function rotatedDifference(backend: Backend, folder: string): Promise<number> {
  const checkpoint = await openCheckpoint(folder);
  const model = readModel(checkpoint);
  const { spec } = model;
  const tokens = Int32Array.from({ length: 40 }, (_, i) => (i * 37 + 3) % spec.vocabSize);
  const plain = await loadDecoder(model, backend, tokens.length);
  const expected = backend.zeros([tokens.length, spec.vocabSize]);
  plain.logits(tokens, expected);
  plain.dispose();

  const outer = await loadOuter(model, backend, { hold: "f32" });
  const [embedding, originalHead] = [outer.embedding as Tensor, outer.head as Tensor];
  const blocks: BlockWeights[] = [];
  let q: Tensor | undefined;
  for (let layer = 0; layer < spec.blocks.length; layer++) {
    const block = foldBlock(backend, await loadBlock(model, backend, layer, { hold: "f32" }));
    const rotation = randomRotation(backend, spec, layer);
    q = rotation.q;
    await rotateBlock(backend, sitesOf(block.spec), linearsOf(block), rotation);
    blocks.push(block);
  }
  // The last norm's gain folds into the head, which no longer is the embedding then.
  const head = backend.zeros(originalHead.shape);
  backend.copy(originalHead, head);
  backend.ops.scaleColumns(head, outer.finalNorm.gain);
  turnColumns(backend, head, q!);
  turnColumns(backend, embedding, q!);
  const ones = backend.upload(new Float32Array(spec.hiddenSize).fill(1), [spec.hiddenSize]);
  const finalNorm = { gain: ones };
  const turned = { embedding: outer.embedding, head, finalNorm };
  const rotated = new Decoder(backend, spec, turned, blocks, tokens.length, tokens.length);
  const actual = backend.zeros(expected.shape);
  rotated.logits(tokens, actual);
  rotated.dispose();
  await checkpoint.close();
  const [before, after] = [expected, actual].map((tensor) => backend.read(tensor));
  const reference = (await before) as Float32Array;
  const result = (await after) as Float32Array;
  const largest = reference.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return result.reduce((most, x, i) => Math.max(most, Math.abs(x - reference[i])), 0) / largest;
}

test("a model rotated on both sides gives the same logits: stories-1m", async () => {
  const backend = await openWasm();
  const difference = await rotatedDifference(backend, realModel("stories-1m").folder);
  note(`stories-1m: logits differ by ${difference.toExponential(1)} of the largest when rotated`);
  assert.ok(difference < 1e-5, `${difference}`);
  backend.dispose();
});

for (const name of [
  "stories260k",
  "tinystories-656k",
  "tiny-random-qwen2-bias",
  "tiny-random-qwen3-qknorm",
  "tiny-random-mistral-window",
]) {
  sharedTest(test, `a model rotated on both sides gives the same logits: ${name}`, async () => {
    const backend = await openWasm();
    const difference = await rotatedDifference(backend, sharedPath("models", name));
    assert.ok(difference < 1e-5, `${difference}`);
    backend.dispose();
  });
}

test("turned statistics are those gathered from the rotated block", async () => {
  const backend = await openWasm();
  const [samples, length] = [4, 64];
  const { spec, outer, blocks, problems, ids } = await foldedModel(backend, "stories-1m", {
    samples,
    length,
  });
  const outcome = await optimiseRotation(backend, [problems[0]], { objective: "wanda", steps: 5 });
  const rotation: BlockRotation = {
    q: outcome.q,
    r2: outcome.r2[0],
    heads: attentionOf(spec.blocks[0]),
  };
  const sites = sitesOf(blocks[0].spec);
  await rotateBlock(backend, sites, linearsOf(blocks[0]), rotation);
  const hidden = backend.zeros([ids.length, spec.hiddenSize]);
  backend.ops.embed(outer.embedding, backend.upload(ids, [ids.length]), hidden);
  turnColumns(backend, hidden, outcome.q!);
  const gatherers = new Map<string, StatisticsGatherer>();
  for (const { name, shape } of sites) {
    gatherers.set(name, new StatisticsGatherer(backend, shape, samples, TURNED));
  }
  const runner = new BlockRunner(backend, spec, ids.length, length);
  runner.run(hidden, blocks[0], {
    segments: wholeTexts(samples, length),
    observe: (name, x) => addBoth(backend, gatherers.get(name), x),
  });
  for (const site of rotatedInputs(blocks[0].spec)) {
    const { name } = site;
    const regathered = await gatherers.get(name)!.finish(name);
    const turned = await rotateStatistics(
      backend,
      site,
      problems[0].statistics[name]!,
      rotation,
      known,
    );
    for (const field of ["hessian", "columnSquares", "crossMoment"] as const) {
      const expected = (await backend.read(regathered.tensors[field])) as Float32Array;
      const actual = (await backend.read(turned.tensors[field])) as Float32Array;
      const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const worst = actual.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i])), 0);
      // Rotated attention and norms round too, hence no tighter bound.
      assert.ok(worst < 1e-4 * largest, `${name} ${field}: ${worst / largest}`);
    }
    assert.is(turned.sequences, samples);
    assert.is(turned.tokens, ids.length);
  }
  backend.dispose();
});

test("k, v and up share turned statistics; down's stay; column squares alone are refused", async () => {
  const backend = await openWasm();
  const { problems } = await foldedModel(backend, "stories-1m", { samples: 1, length: 32 });
  const { statistics, block } = problems[0];
  const site = (name: string) => sitesOf(block).find((one) => one.name === name)!;
  const { q, r2 } = await optimiseRotation(backend, [problems[0]], {
    objective: "wanda",
    steps: 1,
  });
  const rotation: BlockRotation = { q, r2: r2[0], heads: attentionOf(block) };
  const given = statistics["self_attn.q_proj"]!;
  const [byQ, byV] = await Promise.all(
    (["self_attn.q_proj", "self_attn.v_proj"] as const).map(async (name) =>
      backend.read(
        (await rotateStatistics(backend, site(name), given, rotation, known)).tensors.hessian,
      ),
    ),
  );
  assert.equal(byQ, byV);
  assert.is(await rotateStatistics(backend, site("mlp.down_proj"), given, rotation, known), given);
  const { columnSquares } = given.tensors;
  const squaresOnly = { ...given, tensors: { columnSquares } };
  try {
    await rotateStatistics(backend, site("mlp.up_proj"), squaresOnly, rotation, known);
    assert.unreachable("column squares were turned");
  } catch (error) {
    assert.match(String(error), /\[mlp\.up_proj\] the columnSquares.*gather the hessian/);
  }
  const counts = { sequences: 1, tokens: 32, tensors: {} };
  assert.is(await rotateStatistics(backend, site("mlp.up_proj"), counts, rotation, known), counts);
  backend.dispose();
});

test.run();
