// An importance matrix under a limit of memory.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backends/index.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { importanceMatrix } from "../../src/importance-matrix.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { CALIBRATION, storyFiles } from "../compress/stories.js";

const test = suite("importance matrix under a limit of memory");

test("it runs where what it takes has room, and is refused below", async () => {
  const windows = { samples: 20, length: 256, calibration: CALIBRATION };
  const simd = { threads: 1, simd: "baseline" } as const;
  const run = async (more: object) => {
    const model = await openCheckpoint(memoryFolder(storyFiles()));
    return importanceMatrix({ model, out: memoryOutputFolder(), ...windows, ...more }).result();
  };
  const backend = await openBackend("wasm", simd);
  await run({ backend });
  const { peak } = backend.memory();
  backend.dispose();
  const streams = 4 * 20 * 256 * 128;
  const limited = (maxMemory: number) => run({ backend: "wasm", ...simd, maxMemory });
  assert.is((await limited(Math.ceil(1.02 * (peak + streams)))).entries, 28);
  await refused(
    () => limited(Math.floor(0.98 * (peak + streams))),
    /memory\] the run would take .* MB of memory, and `maxMemory` allows .*; 2\.62 MB of it are the windows' activations: give fewer windows/,
  );
  await refused(() => limited(0), /maxMemory.* a number of bytes above 0/);
});

test.run();
