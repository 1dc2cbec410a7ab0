import { suite } from "uvu";
import * as assert from "uvu/assert";
import { OPENERS, random } from "../backends/operands.js";
import { note, skipUnless } from "../shared.js";
import { checkHalf, type HalfCheck } from "./half.js";
import { hasLavapipe, NO_LAVAPIPE, onLavapipe } from "./lavapipe.js";

const test = suite("webgpu/half");

function judge(checks: readonly HalfCheck[]): void {
  assert.is(checks.length, 15);
  for (const { what, worst } of checks) {
    assert.ok(worst <= 1, `${what}: its error is ${worst} of what it may be`);
  }
}

for (const open of OPENERS) {
  test(`${open.name}: products with f16 weights, without shader-f16`, async () => {
    const backend = await open();
    judge(await checkHalf(backend, random));
    backend.dispose();
  });
}

skipUnless(
  test,
  hasLavapipe,
  NO_LAVAPIPE,
  "products with f16 weights on an adapter with shader-f16",
  async () => {
    const { adapter, features, checks } = await onLavapipe<{ checks: HalfCheck[] }>("half-script");
    assert.ok(features.includes("shader-f16"), `${adapter} has no shader-f16`);
    judge(checks);
    note(
      `f16 weights on ${adapter} in Deno: largest error ${Math.max(...checks.map(({ worst }) => worst)).toFixed(3)} of its bound`,
    );
  },
);

test.run();
