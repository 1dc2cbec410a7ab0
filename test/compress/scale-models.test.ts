/** AWQ's scales folded into blocks of real architectures. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { readModel } from "../../src/models/stored.js";
import { sharedPath, sharedTest } from "../shared.js";
import { foldsOf } from "./scale-folds.js";

const test = suite("compress/scale-models");

for (const name of ["llama3-rope", "mistral-window", "qwen2-bias", "qwen3-qknorm"]) {
  sharedTest(test, `tiny-random-${name}: scales folded into a block change nothing`, async () => {
    const checkpoint = await openCheckpoint(sharedPath("models", `tiny-random-${name}`));
    const { groups, worst } = await foldsOf(readModel(checkpoint));
    await checkpoint.close();
    assert.is(groups, 4);
    assert.ok(worst < 1e-5, `${worst}`);
  });
}

test.run();
