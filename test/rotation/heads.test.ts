import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import { ROTATION_LOSSES, type RotationOptions } from "../../src/rotation.js";
import { memoryKeeper } from "../keeper.js";
import { disposeOutcome, floats, refusal, worstOrthogonality } from "./outcomes.js";
import { type BlockShape, problemOf, randomBlock } from "./random.js";

const test = suite("rotation of heads alone");

const SHAPE: BlockShape = { hidden: 12, heads: 4, kvHeads: 2, headDim: 3, intermediate: 10 };

for (const backend of await Promise.all([openReference(), openWasm()])) {
  for (const loss of ROTATION_LOSSES) {
    test(`${backend.name}: ${loss}: Q is not there, and R2 goes on where it stopped`, async () => {
      const problem = problemOf(backend, randomBlock(SHAPE, 16));
      const { live } = backend.memory();
      const options: RotationOptions = { loss, steps: 12, headsOnly: true };
      const outcome = await optimiseRotation(backend, [problem], options);
      assert.is(outcome.q, undefined);
      assert.ok(outcome.loss < outcome.curve[0], `${outcome.curve[0]} ${outcome.loss}`);
      assert.ok((await worstOrthogonality(backend, outcome)) < 3e-7);
      const stop = new AbortController();
      const keeper = memoryKeeper((count) => {
        if (count === 4) stop.abort(new Error("enough"));
      });
      const stopped = optimiseRotation(backend, [problem], {
        ...options,
        keeper,
        signal: stop.signal,
      });
      assert.match(await refusal(stopped), /enough/);
      const resumed = await optimiseRotation(backend, [problem], { ...options, keeper });
      assert.equal(resumed.curve, outcome.curve);
      assert.equal(await floats(backend, resumed.r2[0]), await floats(backend, outcome.r2[0]));
      disposeOutcome(outcome);
      disposeOutcome(resumed);
      assert.is(backend.memory().live, live, "memory is left behind");
    });
  }
}

test.run();
