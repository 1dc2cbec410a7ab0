// A GPU that computes or reads wrong after its self-test. A wasm backend under its name stands in.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { policy } from "../../src/backends/auto.js";
import { openWasm } from "../../src/backends/wasm.js";
import { compress } from "../../src/compress.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import type { Tensor, TensorData } from "../../src/tensor.js";
import { refused } from "../checkpoint/crafted.js";
import { MODEL } from "../cli/program.js";
import { CALIBRATION, compressFiles, QUICK, sameFiles, storyFiles } from "./stories.js";

const test = suite("lying GPU");

interface Lie {
  /** Changes what is read. */
  readonly read?: (data: TensorData, tensor: Tensor) => void;
  /** Changes the result of a product. */
  readonly multiply?: (out: Tensor) => void;
}

/** A backend that calls itself webgpu and lies. */
async function openLiar({ read, multiply }: Lie): Promise<Backend> {
  const backend = await openWasm({ threads: 1, simd: "baseline" });
  const { ops } = backend;
  const isWeight = ({ shape: [rows, cols] }: Tensor) => rows >= 128 && cols >= 128;
  return Object.create(backend, {
    name: { value: "webgpu" },
    read: {
      value: async (tensor: Tensor) => {
        const data = await backend.read(tensor);
        if (isWeight(tensor)) read?.(data, tensor);
        return data;
      },
    },
    ops: {
      value: {
        ...ops,
        multiply: (...args: Parameters<typeof ops.multiply>) => {
          ops.multiply(...args);
          multiply?.(args[2]);
        },
      },
    },
  });
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
    /the GPU gave activations that are NaN or infinite/,
  ],
  "a product that is zero": [
    {
      multiply: (out) =>
        out.shape[0] === 1 && (out as unknown as { data: Float32Array }).data.fill(0),
    },
    /q_proj: the GPU's product with it is 0, must be /,
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

test.run();
