/** What a rotation takes off the cost of rounding the embedded model. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import { BlockObjective } from "../../src/rotation/objective.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import { randomHadamard } from "../quantizers/turned.js";
import { note } from "../shared.js";
import { foldedModel } from "./blocks.js";

const test = suite("rotation before rounding");

test("on a real model the loss of rounding falls by a fifth, which a random Hadamard matrix does not reach", async () => {
  const backend = await openWasm();
  const { problems } = await foldedModel(backend, "stories-1m", { samples: 32, length: 256 });
  const options = { objective: "wanda", loss: "rounding" } as const;
  const outcome = await optimiseRotation(backend, problems, options);
  const n = problems.flatMap(({ weights }) => Object.keys(weights)).length;
  assert.ok(Math.abs(outcome.curve[0] / n - 1) < 1e-5, `${outcome.curve[0]} of ${n} linears`);
  const q = backend.upload(randomHadamard(128, 1), [128, 128]);
  const r2 = Float32Array.from({ length: 64 * 32 }, (_, i) =>
    Number(Math.floor(i / 32) % 32 === i % 32),
  );
  const turns = { q, r2: backend.upload(r2, [64, 32]) };
  const gradients = { q: backend.zeros([128, 128]), r2: backend.zeros([64, 32]) };
  let hadamard = 0;
  for (const problem of problems) {
    const objective = await BlockObjective.open(backend, problem, {
      ...{ ...options, damping: 0.01, scoreDamping: 0.01 },
    });
    hadamard += await objective.loss(turns, gradients, false);
    objective.dispose();
  }
  note(
    `rounding: ${outcome.curve[0].toFixed(2)} linears become ${outcome.loss.toFixed(2)}, with a random Hadamard matrix ${hadamard.toFixed(2)}`,
  );
  assert.ok(outcome.loss < 0.8 * outcome.curve[0]);
  assert.ok(outcome.loss < hadamard);
  backend.dispose();
});

test.run();
