// A GPU that computes or reads wrong after its self-test. A wasm backend under its name stands in.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, Operations } from "../../src/backend.js";
import { policy } from "../../src/backends/auto.js";
import { openWasm } from "../../src/backends/wasm.js";
import { compress } from "../../src/compress.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { f32, type Tensor, type TensorData } from "../../src/tensor.js";
import { refused } from "../checkpoint/crafted.js";
import { MODEL } from "../cli/program.js";
import { CALIBRATION, compressFiles, QUICK, sameFiles, storyFiles } from "./stories.js";

const test = suite("lying GPU");

interface Lie {
  /** Changes what is read of a weight or its mask. */
  readonly read?: (data: TensorData) => void;
  /** Operations that take the place of the honest ones. */
  readonly ops?: (honest: Operations) => Partial<Operations>;
}

/** A backend that calls itself webgpu and lies. */
async function openLiar({ read, ops }: Lie): Promise<Backend> {
  const backend = await openWasm({ threads: 1, simd: "baseline" });
  const isWeight = ({ shape: [rows, cols] }: Tensor) => rows >= 128 && cols >= 128;
  return Object.create(backend, {
    name: { value: "webgpu" },
    read: {
      value: async (tensor: Tensor) => {
        const data = await backend.read(tensor);
        if (isWeight(tensor)) read?.(data);
        return data;
      },
    },
    ops: { value: { ...backend.ops, ...ops?.(backend.ops) } },
  });
}

/** Products whose results are changed. */
function products(change: (out: Float32Array, shape: readonly number[]) => void): Lie {
  return {
    ops: ({ multiply }) => ({
      multiply(x, weight, out, options) {
        multiply(x, weight, out, options);
        change(f32(out), out.shape);
      },
    }),
  };
}

/** A GPU that lies when it has found the error of a layer. */
function afterErrors(
  lies: (honest: Operations, isMeasured: () => boolean) => Partial<Operations>,
): Lie {
  return {
    ops(honest) {
      let isMeasured = false;
      return {
        quadraticForm(d, h) {
          isMeasured = true;
          return honest.quadraticForm(d, h);
        },
        ...lies(honest, () => isMeasured),
      };
    },
  };
}

/** The embedded model's weights are read as 16 bits. */
const LIES: Readonly<Record<string, readonly [lie: Lie, message: RegExp]>> = {
  "a read that gives NaN": [
    { read: (data) => data instanceof Uint16Array && data.fill(0x7fff, 5, 9) },
    /q_proj: 4 values of model\.layers\.0\.self_attn\.q_proj\.weight came out NaN or infinite/,
  ],
  "a mask that keeps too many": [
    { read: (data) => data instanceof Uint8Array && data.fill(1, 0, 4) },
    /q_proj: its mask keeps 4 of 4 weights, not 2/,
  ],
  "a read that is not what the mask says": [
    { read: (data) => data instanceof Uint16Array && data.fill(0x3f80, 8, 12) },
    /q_proj: a weight that its mask removes is not 0/,
  ],
  "an activation that is read as NaN": [
    { read: (data) => data instanceof Float32Array && data.fill(Number.NaN, 0, 9) },
    /the GPU gave inputs of model\.layers\.0\.self_attn\.q_proj that are NaN or infinite/,
  ],
  "an activation that is written as NaN": [
    afterErrors(({ add }, isMeasured) => ({
      // From then on the block's outputs are computed for the next one.
      add(x, y) {
        add(x, y);
        if (isMeasured()) f32(x).fill(Number.NaN, 0, 9);
      },
    })),
    /the GPU gave activations that are NaN or infinite/,
  ],
  "a product of the finished weight that is zero": [
    afterErrors(({ multiply }, isMeasured) => ({
      multiply(x, weight, out, options) {
        multiply(x, weight, out, options);
        // After the checks of the Hessian, which multiply one row too.
        if (isMeasured() && out.shape[0] === 1) f32(out).fill(0);
      },
    })),
    /q_proj: the GPU's product with it is 0, must be /,
  ],
  "a Hessian of which a part is missing": [
    {
      ops: ({ mirrorUpper }) => ({
        mirrorUpper(hessian) {
          mirrorUpper(hessian);
          f32(hessian).fill(0, 64 * 128);
        },
      }),
    },
    /q_proj: the GPU's Hessian gives \S+ along a random direction, must give /,
  ],
  "sums over the first batch that are wrong": [
    products((out, shape) => shape[0] === 1 && out.fill(1)),
    /q_proj: the GPU's squares of its inputs sum to \d+, must be /,
  ],
  "a layer's error that is too small": [
    {
      ops: ({ quadraticForm }) => {
        let calls = 0;
        return {
          quadraticForm: async (d, h) => (await quadraticForm(d, h)) * (++calls % 2 ? 0.9 : 1),
        };
      },
    },
    /q_proj: the GPU's error of row \d+ is \S+, must be /,
  ],
};

for (const [what, [lie, message]] of Object.entries(LIES)) {
  test(`${what} is noticed before the layer is kept`, async () => {
    const backend = await openLiar(lie);
    const out = memoryOutputFolder("out");
    const options = { model: MODEL, calibration: CALIBRATION, recipe: QUICK, out, backend };
    await refused(() => compress(options).result(), message);
    assert.equal(Object.keys(out.files), []);
    backend.dispose();
  });

  test(`${what}: where auto chose the GPU, the work goes on on wasm`, async () => {
    const { worthElements, openGpu } = policy;
    Object.assign(policy, { worthElements: 0, openGpu: () => openLiar(lie) });
    try {
      const { files, events } = await compressFiles(storyFiles(), {}, { simd: "baseline" });
      const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
      assert.match(notes.join("\n"), message);
      assert.match(notes.join("\n"), /the work goes on on wasm/);
      const expected = await compressFiles(storyFiles(), {}, { backend: "wasm", simd: "baseline" });
      const weights = "model.safetensors";
      sameFiles({ [weights]: files[weights] }, { [weights]: expected.files[weights] });
    } finally {
      Object.assign(policy, { worthElements, openGpu });
    }
  });
}

test("a product with ARMOR's factors that is wrong is noticed before the layer is kept", async () => {
  const backend = await openLiar({
    ops: ({ multiply }) => ({
      multiply(x, weight, out, options) {
        multiply(x, weight, out, options);
        // No tensor: what `prepare` made of the factors.
        if (!("dtype" in weight)) f32(out)[7] *= 1.01;
      },
    }),
  });
  const out = memoryOutputFolder("out");
  const recipe = { ...QUICK, method: "armor", options: { iterations: 2, blockSize: 8 } };
  const options = { model: MODEL, calibration: CALIBRATION, recipe, out, backend };
  const message = /q_proj: the GPU's product with it is \S+, must be /;
  await refused(() => compress(options).result(), message);
  backend.dispose();
});

test.run();
