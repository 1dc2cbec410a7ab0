// Two blocks of the real model through the methods of docs/models.md, in seconds instead of hours.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import { compress } from "../../src/compress.js";
import type { TensorEntry } from "../../src/layout.js";
import { type Folder, memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { note } from "../shared.js";
import { yardstickPath, yardstickTest } from "../yardstick.js";
import { writeTexts } from "./measure.js";

const test = suite("two blocks of a real model");
const BLOCKS = 2;
const WASM = { backend: "wasm", simd: "baseline", threads: 1 } as const;

/** Mean relative errors of the layers at 2:4 with this arithmetic, the same on every machine. */
const RECORDED: Readonly<Record<string, number>> = {
  magnitude: 0.07892848,
  wanda: 0.04324576,
  sparsegpt: 0.01607449,
  nowag: 0.0440651,
};

/** The model without its later blocks. */
async function excerpt(model: Checkpoint): Promise<Folder> {
  const names = [...model.tensors.keys()].filter((name) => {
    const block = /^model\.layers\.(\d+)\./.exec(name);
    return !block || Number(block[1]) < BLOCKS;
  });
  const tensors = names.map((name) => {
    const { dtype, shape } = model.tensors.get(name)!;
    return { name, dtype, shape } as TensorEntry;
  });
  const out = memoryOutputFolder();
  const writer = createCheckpoint(out, { tensors });
  for (const name of names) await writer.write(name, await model.read(name));
  await writer.finish();
  await out.commit();
  const config = { ...(model.config as object), num_hidden_layers: BLOCKS };
  const beside: Record<string, string> = { "config.json": JSON.stringify(config) };
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    beside[name] = await model.folder.readText(name, 1e8);
  }
  return memoryFolder({ ...out.files, ...beside });
}

yardstickTest(test, "each method loses as much of the layers' outputs as recorded", async () => {
  const whole = await openCheckpoint(yardstickPath("smollm2.q4_1.gguf"));
  const model = await openCheckpoint(await excerpt(whole));
  await whole.close();
  const texts = writeTexts(yardstickPath("real/texts"));
  const calibration = readFileSync(texts("calibration"), "utf8");
  const found: Record<string, number> = {};
  for (const method of Object.keys(RECORDED)) {
    const out = memoryOutputFolder();
    const recipe = { method, samples: 8, length: 256 };
    const { layers } = await compress({ model, calibration, out, recipe, ...WASM }).result();
    assert.is(layers.length, 7 * BLOCKS);
    found[method] = layers.reduce((sum, { layerError }) => sum + layerError!, 0) / layers.length;
  }
  note(
    Object.entries(found)
      .map(([name, one]) => `${name} ${one.toPrecision(7)}`)
      .join(", "),
  );
  for (const [name, error] of Object.entries(found)) {
    const recorded = RECORDED[name];
    assert.ok(Math.abs(error / recorded - 1) < 1e-5, `${name}: ${error}, recorded ${recorded}`);
  }
});

test.run();
