import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, penjing } from "./cli/program.js";
import { yardstickPath, yardstickTest } from "./yardstick.js";

const test = suite("foresee smollm2");

yardstickTest(test, "a run that no machine has memory for is refused at once", async () => {
  const folder = mkdtempSync(join(tmpdir(), "penjing-plan-"));
  try {
    const out = join(folder, "out");
    const model = yardstickPath("smollm2");
    const flags = ["--calibration", CALIBRATION, "--samples", "10000000", "--length", "2048"];
    const { code, stderr } = await penjing(["compress", model, "--out", out, ...flags]);
    assert.is(code, 1);
    assert.match(
      stderr,
      /memory\] the run would take [\d.]+ TB, .* --samples \d+ to [\d.]+ GB and leaves/,
    );
    assert.equal(readdirSync(folder), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
