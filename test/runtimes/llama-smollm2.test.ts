// A real model's GGUF files as llama.cpp runs them.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exportModel } from "../../src/export.js";
import { scratch } from "../cli/program.js";
import { note } from "../shared.js";
import { yardstickFigures, yardstickPath, yardstickTest } from "../yardstick.js";
import { askLlama, HAS_LLAMA, MISSING, meanOf, ownNll, TOLERANCE } from "./llama.js";

const test = suite("llama.cpp on smollm2");
const folder = scratch(test);

yardstickTest(test, "SmolLM2 in K types, and what they stand for", async () => {
  if (!HAS_LLAMA) return note(`it is not asked of llama.cpp: ${MISSING}`);
  const { ids } =
    yardstickFigures<Record<string, { ids: readonly number[] }>>("logits.json").smollm2;
  const [path, plain] = ["", "-F32"].map((name) => join(folder, `smollm2${name}.gguf`));
  const model = yardstickPath("smollm2");
  await exportModel({ model, out: path, layout: "gguf", ggufType: "Q4_K_M" }).result();
  await exportModel({ model: path, out: plain, layout: "gguf", ggufType: "F32" }).result();
  const own = await ownNll({ path, ids });
  const [rounded, exact] = (await askLlama([path, plain].map((one) => ({ path: one, ids })))).map(
    ({ nll }) => Math.exp(meanOf(nll) - own),
  );
  note(
    `SmolLM2, Q4_K_M: perplexity ${Math.exp(own).toFixed(3)} here, llama.cpp's x${exact.toFixed(5)} of the same values in F32 and x${rounded.toFixed(5)} of the file`,
  );
  assert.ok(Math.abs(exact - 1) <= TOLERANCE, `${exact}`);
  // llama.cpp rounds activations to 8 bits, which is 1.1% even of this model's Q8_0.
  assert.ok(Math.abs(rounded - 1) <= 0.03, `${rounded}`);
});

test.run();
