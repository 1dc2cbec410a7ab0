import { readFileSync } from "node:fs";
import type { Backend } from "../../src/backend.js";
import { sitesOf } from "../../src/model.js";
import { type RotationProblem, rotatedInputs } from "../../src/rotation.js";
import type { Statistics } from "../../src/statistic.js";
import { floatsOf, intsOf, readShared } from "../golden.js";
import { sharedPath } from "../shared.js";
import { blockOf } from "./random.js";

/** One run of the original program on its toy block. */
export interface GoldenRun {
  /** Loss at each of `calls`; call 0 and call 1 are before the first update. */
  readonly losses: Float32Array;
  readonly calls: Int32Array;
  /** Gradients by A and B (Q and R2 at the identity) after clipping, before the first update. */
  readonly gradientQ: Float32Array | undefined;
  readonly gradientR2: Float32Array | undefined;
  /** Qᵀ [64, 64], and R2 [2 * 16, 16], up to the signs of Q's columns. */
  readonly r1: Float32Array;
  readonly r2: Float32Array;
}

export interface GoldenToy {
  problem(backend: Backend): RotationProblem;
  run(name: string): Promise<GoldenRun>;
  /** Losses of the run without the damping that is added twice. */
  readonly counterfactual: { readonly loss_first: number; readonly loss_last: number };
}

/** golden/denoiserotator: a toy attention and MLP block with hidden 64, gains folded here. */
export async function goldenToy(): Promise<GoldenToy> {
  const manifest = JSON.parse(readFileSync(sharedPath("golden", "manifest.json"), "utf8"));
  const { dims, counterfactual } = manifest.denoiserotator;
  const file = await readShared("golden", "denoiserotator.safetensors");
  const floats = async (name: string) => (await floatsOf(file, name))!;
  const gains = {
    self_attn: await floats("input_layernorm"),
    mlp: await floats("post_attention_layernorm"),
  };
  const block = blockOf({
    hidden: dims.hidden,
    intermediate: dims.intermediate,
    heads: dims.heads,
    kvHeads: dims.kv_heads,
    headDim: dims.head_dim,
  });
  const weights = new Map<string, { data: Float32Array; shape: readonly number[] }>();
  for (const { name, reads } of sitesOf(block)) {
    const data = await floats(`W.${name}`);
    const shape = file.tensors.get(`W.${name}`)!.shape;
    const gain = gains[name.split(".")[0] as keyof typeof gains];
    weights.set(name, {
      data: reads === "stream" ? data.map((w, i) => w * gain[i % shape[1]]) : data,
      shape,
    });
  }
  const hessians = new Map<string, Float32Array>();
  for (const { name } of rotatedInputs(block)) hessians.set(name, await floats(`H.${name}`));
  return {
    problem: (backend) => ({
      name: "toy",
      block,
      weights: Object.fromEntries(
        [...weights].map(([name, { data, shape }]) => [name, backend.upload(data, shape)]),
      ),
      statistics: Object.fromEntries(
        [...hessians].map(([input, data]) => {
          const n = Math.sqrt(data.length);
          const statistics: Statistics = {
            sequences: dims.nseq,
            tokens: dims.nseq * dims.seqlen,
            tensors: { hessian: backend.upload(data, [n, n]) },
          };
          return [input, statistics];
        }),
      ),
    }),
    run: async (name) => ({
      losses: await floats(`${name}.loss`),
      calls: await intsOf(file, `${name}.loss_call`),
      gradientQ: await floatsOf(file, `${name}.gradA_step0`),
      gradientR2: await floatsOf(file, `${name}.gradB_step0`),
      r1: await floats(`${name}.R1`),
      r2: await floats(`${name}.R2`),
    }),
    counterfactual: counterfactual.sparsegpt_24_ep100_NO_STRAY_DAMP,
  };
}
