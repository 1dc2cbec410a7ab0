// Runs that are refused before any work: what there is too little of, and what is said to do.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { faultOf } from "../src/compress/plan/foresee.js";
import { compress } from "../src/compress.js";
import { type Plan, plan } from "../src/plan.js";
import { memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { penjing } from "./cli/program.js";
import { repositoryRoot } from "./shared.js";

const test = suite("foresee");
const STORIES = join(repositoryRoot, "examples", "stories-1m");
const calibration = readFileSync(join(STORIES, "calibration.txt"), "utf8");

test("what there is too little of is found", () => {
  const made = (more: object): Plan => ({
    ...{ model: { type: "llama", blocks: 1, parameters: 1, bytes: 1 }, phases: [] },
    ...{ tokens: { count: 1, widest: 1 }, rate: 1, seconds: 1, fewer: undefined },
    ...{
      memory: { wasm: 3e9, second: 0, streams: 5e9, block: 1e9, whole: 9e9 },
      disk: { out: 2e9, work: 3e9 },
    },
    ...{ machine: { whole: 10e9, free: 1e9, disk: 6e9 } },
    ...more,
  });
  const says = (more: object, terms: Parameters<typeof faultOf>[1], message: RegExp) => {
    const { where, sentence } = faultOf(made(more), terms)!;
    assert.match(`${where}] ${sentence}`, message);
  };
  const fits = (more: object, terms: Parameters<typeof faultOf>[1]) =>
    assert.is(faultOf(made(more), terms), undefined);
  fits({}, { isOnWasm: true });
  fits({ machine: {} }, { isOnWasm: true });
  const large = { wasm: 5e9, second: 0, streams: 1, block: 1, whole: 5e9 };
  says({ memory: large }, { isOnWasm: true }, /wasm\] .* 5\.00 GB in a .*, which holds 4\.29 GB/);
  fits({ memory: large }, {});
  const small = { machine: { whole: 8e9 } };
  says(
    small,
    {},
    /memory\] the run would take 9\.00 GB, 5\.00 GB of it for .* machine has 8\.00 GB/,
  );
  fits(small, { maxMemory: 9e9 });
  says({}, { maxMemory: 8e9 }, /memory\] .* and `maxMemory` allows 8\.00 GB/);
  const disk = { machine: { disk: 4e9 } };
  says(disk, {}, /out\] .* 5\.00 GB of disk until it ends, and 4\.00 GB are free there/);
  fits(disk, { looksAtDisk: false });
  fits(disk, { workDisk: 3.1e9 });
  says(disk, { workDisk: 2.9e9 }, /work\] .* 3\.00 GB of disk until it ends, and 2\.90 GB are/);
  says({ machine: { disk: 1e9 } }, { workDisk: 9e9 }, /out\] .* 2\.00 GB of disk for the output/);
});

/** What the sentence of a refusal says that settings bring a run to, in bytes. */
function waysIn(message: string): Map<string, number> {
  const units: Readonly<Record<string, number>> = { KB: 1e3, MB: 1e6, GB: 1e9 };
  const found = message.matchAll(/`([^`]+)` (?:brings it )?to ([\d.]+) (\w+)/g);
  return new Map([...found].map(([, name, value, unit]) => [name, Number(value) * units[unit]]));
}

test("compress refuses what is above maxMemory, and what it names will do", async () => {
  const recipe = { samples: 160, length: 256 };
  const given = { model: STORIES, recipe, backend: "wasm", threads: 1, calibration } as const;
  const folder = mkdtempSync(join(tmpdir(), "penjing-plan-"));
  try {
    const out = join(folder, "out");
    const { memory } = await plan({ model: STORIES, recipe, threads: 1, rate: 1 });
    const maxMemory = Math.floor(0.75 * memory.whole);
    const { message } = await refused(
      () => compress({ ...given, out, maxMemory }).result(),
      /memory\] the run would take 3\d\.\d MB, 21\.0 MB of it .* and `maxMemory` allows/,
    );
    const ways = waysIn(message);
    assert.equal([...ways.keys()], ["spill", "stream: bf16", "samples: 80"]);
    const changes = [{ spill: true }, { stream: "bf16" }, { samples: 80 }];
    for (const [i, [name, bytes]] of [...ways].entries()) {
      const { spill, ...more } = changes[i] as { spill?: boolean; stream?: "bf16" };
      const changed = {
        model: STORIES,
        recipe: { ...recipe, ...more },
        spill,
        threads: 1,
        rate: 1,
      };
      const { whole } = (await plan(changed)).memory;
      assert.ok(whole <= maxMemory && Math.abs(whole / bytes - 1) < 0.01, `${name}: ${whole}`);
    }
    assert.equal(readdirSync(folder), []);
    await refused(
      () => compress({ ...given, out: memoryOutputFolder(), maxMemory: 1e6 }).result(),
      /`stream: bf16` would still leave [\d.]+ MB; give fewer and shorter/,
    );
    await refused(() => compress({ ...given, out, maxMemory: -1 }).result(), /maxMemory.*above 0/);
    const { layers } = await compress({
      ...{ ...given, recipe: { samples: 4, length: 64 } },
      ...{ out: memoryOutputFolder(), maxMemory: memory.whole },
    }).result();
    assert.is(layers.length, 28);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a run without a text has no activations to find room for", async () => {
  const recipe = { method: "magnitude" } as const;
  const { memory, tokens } = await plan({ model: STORIES, recipe, hasText: false, rate: 1 });
  assert.is(tokens.count, 0);
  const model = await openCheckpoint(STORIES);
  const given = { model, recipe, backend: "wasm", simd: "baseline" } as const;
  const out = memoryOutputFolder();
  const { peakTensorBytes } = await compress({ ...given, out, maxMemory: memory.whole }).result();
  assert.ok(memory.wasm < 1.2 * peakTensorBytes, `${memory.wasm} of ${peakTensorBytes}`);
  assert.ok(memory.streams < 1000, String(memory.streams));
});

test("the command says so in its own words, and takes what they name", async () => {
  const folder = mkdtempSync(join(tmpdir(), "penjing-plan-"));
  try {
    const out = join(folder, "out");
    const flags = ["--calibration", join(STORIES, "calibration.txt"), "--method", "wanda"];
    const run = (...more: string[]) =>
      penjing(["compress", STORIES, "--out", out, ...flags, ...more]);
    const { memory } = await plan({ model: STORIES, recipe: { method: "wanda" }, rate: 1 });
    const most = ["--max-memory", `${Math.floor((0.75 * memory.whole) / 1024)} KiB`];
    const { code, stderr } = await run(...most);
    assert.is(code, 1);
    assert.match(
      stderr,
      /^penjing: \[memory\] .* and --max-memory allows .* MB; --spill brings it/,
    );
    assert.equal(readdirSync(folder), []);
    const ended = await run(...most, "--spill", "--samples", "100");
    assert.is(ended.code, 0, ended.stderr);
    assert.equal(readdirSync(folder), ["out"]);
    for (const size of ["4", "0GB", "-1GB", "4 gallons", "120%", "0%", "ib", ""]) {
      const wrong = await run("--max-memory", size);
      const isTiny = size === "4";
      assert.is(wrong.code, isTiny ? 1 : 2, size);
      assert.match(wrong.stderr, isTiny ? /allows 4 B/ : /Give a s(ize such as 4GiB|hare above)/);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
