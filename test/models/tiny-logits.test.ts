import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note } from "../shared.js";
import { testBackends } from "../webgpu/adapter.js";
import { gapOf, logitsOf, openFiles, TINY_FAMILIES, tinyFiles, tinyGolden } from "./tiny-model.js";

const test = suite("tiny-logits");

/** Largest accepted |difference| as a share of the largest golden logit. */
const TOLERANCE: Readonly<Record<string, number>> = { reference: 1e-5, wasm: 2e-5, webgpu: 2e-5 };

const gaps: string[] = [];

for (const [name, open] of testBackends) {
  for (const family of TINY_FAMILIES) {
    test(`${family} on ${name}: the logits of transformers, also over a cache`, async () => {
      const backend = await open();
      const { ids, logits } = await tinyGolden(family);
      const checkpoint = await openFiles(tinyFiles(family));
      const whole = await logitsOf(backend, checkpoint, ids);
      const gap = gapOf(whole, logits);
      gaps.push(`${family} ${name} ${gap.toExponential(1)}`);
      assert.ok(gap <= TOLERANCE[name], `the logits differ by ${gap} of the largest`);
      // A software adapter takes long.
      for (const step of name === "webgpu" ? [] : [1, 13]) {
        const pieces = await logitsOf(backend, checkpoint, ids, { step });
        assert.ok(
          gapOf(pieces, whole) <= 4e-6,
          `${step} tokens at a time: ${gapOf(pieces, whole)}`,
        );
      }
      backend.dispose();
    });
  }
}

test("the figures", () => {
  note(`largest |logit difference| / largest |logit|: ${gaps.join(", ")}`);
});

test.run();
