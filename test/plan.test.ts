import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../src/backend.js";
import { WASM_BYTES } from "../src/backends/memory.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import type { GivenRecipe } from "../src/compress/recipe.js";
import { compress } from "../src/compress.js";
import type { Method } from "../src/method.js";
import { decoderTensors } from "../src/model.js";
import { readModelConfig } from "../src/models/families/index.js";
import { plan } from "../src/plan.js";
import { type Folder, memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { patternedModel, REAL_SHAPES } from "./bench/patterned.js";
import { type SyntheticSize, writeSynthetic } from "./bench/synthetic.js";
import { refused } from "./checkpoint/crafted.js";
import { penjing } from "./cli/program.js";
import { note, repositoryRoot } from "./shared.js";

const test = suite("plan");
const STORIES = join(repositoryRoot, "examples", "stories-1m");
const calibration = readFileSync(join(STORIES, "calibration.txt"), "utf8");

/** Models, and the windows that they are calibrated on. */
const SHAPES: readonly (readonly [SyntheticSize, samples: number, length: number])[] = [
  [{ width: 128, layers: 2 }, 40, 64],
  [{ width: 256, layers: 2, neurons: 704 }, 9, 256],
  [{ width: 128, layers: 2, neurons: 1024 }, 1, 256],
  [{ width: 192, layers: 2, neurons: 768, kvHeads: 1 }, 24, 128],
  [{ width: 256, layers: 2, neurons: 512, kvHeads: 2, dtype: "BF16" }, 8, 128],
  [{ width: 320, layers: 1, neurons: 512, dtype: "BF16" }, 64, 32],
];

const models = new Map<SyntheticSize, Folder>();

async function modelOf(size: SyntheticSize) {
  let folder = models.get(size);
  if (!folder) {
    const out = memoryOutputFolder();
    await writeSynthetic(out, size);
    folder = memoryFolder(out.files);
    models.set(size, folder);
  }
  return openCheckpoint(folder);
}

/** What was planned of a run, and what it took. */
async function both(size: SyntheticSize, recipe: GivenRecipe, threads: number) {
  const planned = await plan({ model: await modelOf(size), recipe, threads, rate: 1e10 });
  const options = { model: await modelOf(size), out: memoryOutputFolder(), recipe, calibration };
  const backend = { backend: "wasm", threads, simd: "baseline" } as const;
  return { planned, result: await compress({ ...options, ...backend }).result() };
}

test("memory and bytes of six shapes under three methods are those that runs take", async () => {
  let worst = 0;
  for (const [size, samples, length] of SHAPES) {
    for (const method of ["sparsegpt", "wanda", "magnitude"] as const) {
      const { planned, result } = await both(size, { method, samples, length }, 1);
      const off = Math.abs(planned.memory.wasm / result.peakTensorBytes - 1);
      assert.ok(off < 0.02, `${method} ${JSON.stringify(size)}: ${off}`);
      worst = Math.max(worst, off);
      assert.is(planned.disk.out, result.totals.bytesAfter);
    }
  }
  note(`memory within ${(100 * worst).toFixed(3)}% of what runs take`);
});

test("so are those of other steps, and of several threads", async () => {
  const [size, samples, length] = SHAPES[4];
  const grid = { bits: 4, groupSize: 32 };
  const further = { anchor: 0.25, anchorResidual: 0.25, statistics: "true-sequential" } as const;
  const recipes: GivenRecipe[] = [
    { method: "sparsegpt", refit: 3, ...further },
    { method: "sparsegpt", layout: "two-four" },
    { method: "sparsegpt", layout: "sparse-bitmask" },
    { method: "magnitude", sparsity: "75%", layout: "sparse-bitmask" },
    { method: "sparsegpt", rotate: { steps: 2 } },
    { method: "wanda", rotate: { steps: 2, scope: "shared" } },
    { method: "admm", sparsity: "50%", options: { iterations: 3 } },
    { method: "armor", options: { iterations: 2 } },
    { method: "gptq", options: grid, layout: "grouped-int", embeddingBits: 4 },
    { method: "rtn", options: { bits: 8 }, statistics: "dense" },
  ];
  for (const recipe of recipes) {
    const { planned, result } = await both(size, { ...recipe, samples, length }, 2);
    const what = JSON.stringify(recipe);
    const off = Math.abs(planned.memory.wasm / result.peakTensorBytes - 1);
    // A search takes another course with zeros.
    assert.ok(off < ("rotate" in recipe ? 0.05 : 0.02), `${what}: ${off}`);
    assert.is(planned.disk.out, result.totals.bytesAfter, what);
  }
});

test("work grows with the windows, and a layer's own does not", async () => {
  const [size] = SHAPES[0];
  const works = async (samples: number, statistics: "sequential" | "true-sequential") => {
    const recipe = { samples, length: 64, statistics };
    const { phases } = await plan({ model: await modelOf(size), recipe, threads: 1, rate: 1e9 });
    return new Map(phases.map(({ phase, work }) => [phase, work]));
  };
  const [few, many] = [await works(64, "sequential"), await works(640, "sequential")];
  assert.is(many.get("advance"), 10 * few.get("advance")!);
  assert.is(many.get("calibrate"), 10 * few.get("calibrate")!);
  assert.is(many.get("prune"), few.get("prune"));
  // There inputs are gathered again between the linears.
  const again = [await works(64, "true-sequential"), await works(640, "true-sequential")];
  const passes = again.map((one) => one.get("prune")! - few.get("prune")!);
  assert.ok(passes[0] > few.get("calibrate")! / 2);
  assert.is(passes[1], 10 * passes[0]);
});

test("a model that is stored packed is planned by its weights", async () => {
  const out = memoryOutputFolder();
  const recipe = { samples: 8, length: 64 };
  const packed = { method: "magnitude", layout: "two-four" } as const;
  await compress({ model: STORIES, out, recipe: packed, backend: "wasm" }).result();
  const model = await openCheckpoint(memoryFolder(out.files));
  const options = { recipe, threads: 1, rate: 1e9 };
  const planned = await plan({ model, ...options });
  const plain = await plan({ model: STORIES, ...options });
  assert.equal(planned.memory, plain.memory);
  assert.equal(planned.phases, plain.phases);
  assert.is(planned.disk.out, plain.disk.out);
  assert.ok(planned.model.bytes < plain.model.bytes);
});

test("a method of a plug-in is planned by what it does", async () => {
  const hungry: Method = {
    name: "hungry",
    summary: "takes memory and removes nothing",
    source: "this test",
    needs: () => [],
    options: {},
    async prune({ backend, weight }) {
      const room = (backend as Backend).zeros([2 ** 20]);
      const mask = backend.upload(new Uint8Array(weight.size).fill(1), weight.shape);
      room.dispose();
      return { mask, figures: {}, notes: [] };
    },
  };
  const plugins = [{ name: "hungry", version: "1", methods: [hungry] }];
  const [size, samples, length] = SHAPES[0];
  const recipe = { method: "hungry", sparsity: "0%", samples, length };
  const planned = await plan({ model: await modelOf(size), recipe, plugins, threads: 1, rate: 1 });
  const prune = planned.phases.find(({ phase }) => phase === "prune")!;
  assert.ok(prune.memory > 2 ** 22);
  const { phases } = await plan({
    ...{ model: await modelOf(size), recipe: { ...recipe, method: "magnitude" } },
    ...{ threads: 1, rate: 1 },
  });
  assert.ok(phases.find(({ phase }) => phase === "prune")!.memory < 2 ** 22);
});

/** A model of eight billion parameters of which only config and header are there. */
function largeModel(): { readonly folder: Folder; readonly read: { bytes: number } } {
  const config = {
    ...{ model_type: "llama", vocab_size: 128_256, max_position_embeddings: 8192 },
    ...{ hidden_size: 4096, intermediate_size: 14_336, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, num_key_value_heads: 8 },
  };
  let at = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of decoderTensors(readModelConfig("config.json", config))) {
    const end = at + 2 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [at, end] };
    at = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const begin = new Uint8Array(8 + text.length);
  new DataView(begin.buffer).setBigUint64(0, BigInt(text.length), true);
  begin.set(text, 8);
  const described = new TextEncoder().encode(JSON.stringify(config));
  const files: Record<string, readonly [Uint8Array, number]> = {
    "config.json": [described, described.length],
    "model.safetensors": [begin, begin.length + at],
  };
  const read = { bytes: 0 };
  const folder: Folder = {
    path: "large",
    list: async () => Object.keys(files),
    has: async (name) => name in files,
    readText: async (name) => new TextDecoder().decode(files[name][0]),
    async open(name) {
      const [beginning, size] = files[name];
      return {
        name,
        size,
        async read(offset, length) {
          read.bytes += length;
          const bytes = new Uint8Array(length);
          bytes.set(beginning.subarray(offset, offset + length));
          return bytes;
        },
        async close() {},
      };
    },
  };
  return { folder, read };
}

test("a large model is planned from its header alone", async () => {
  const { folder, read } = largeModel();
  const recipe = { samples: 128, length: 2048 };
  const started = performance.now();
  const model = await openCheckpoint(folder);
  const {
    model: told,
    memory,
    disk,
    tokens,
    fewer,
    seconds,
  } = await plan({
    ...{ model, recipe, threads: 2, rate: 4e10 },
  });
  assert.ok(read.bytes < 1e6, `${read.bytes} bytes were read`);
  assert.is(told.parameters, 8_030_261_248);
  assert.is(told.bytes, 16_060_522_496);
  assert.is(tokens.count, 262_144);
  assert.is(tokens.widest, 14_336);
  assert.is(memory.streams, 4 * 262_144 * 4096);
  assert.ok(memory.wasm < WASM_BYTES, `${memory.wasm}`);
  assert.is(disk.out, told.bytes);
  // Two passes over all weights of the blocks take most of it.
  const least = (2 * 262_144 * 0.8 * 32 * 218_112_000) / 4e10;
  assert.ok(seconds! > least && seconds! < 3 * least, `${seconds} s`);
  assert.is(fewer?.samples, 32);
  assert.ok(fewer!.seconds! < 0.3 * seconds!);
  note(
    `Llama-3-8B, 128 x 2048: ${(memory.wasm / 2 ** 30).toFixed(2)} GiB in wasm, planned in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
});

test("the recommended options fit a block of real shapes, into one memory or two", async () => {
  const options = { refit: 10, anchor: 0.25, anchorResidual: 0.25 };
  const recipe = { ...options, statistics: "true-sequential", samples: 128, length: 2048 } as const;
  for (const [name, isSecond] of [
    ["Llama-3-8B", false],
    ["Qwen2.5-7B", true],
  ] as const) {
    const size = { num_hidden_layers: 1, vocab_size: 1024, max_position_embeddings: 2048 };
    const config = { ...REAL_SHAPES[name], ...size, tie_word_embeddings: true };
    const model = await openCheckpoint(patternedModel(config));
    const { wasm, second } = (await plan({ model, recipe, threads: 2, rate: 4e10 })).memory;
    const told = [wasm, second].map((bytes) => (bytes / 2 ** 30).toFixed(2));
    note(
      `${name} with the four options: ${told[0]} GiB in wasm, and ${told[1]} in a second memory`,
    );
    assert.ok(Math.max(wasm, second) < WASM_BYTES, `${name}: ${wasm} and ${second}`);
    assert.is(second > 0, isSecond, name);
  }
});

test("what does not go together is refused as compress does", async () => {
  const fails = (options: object, message: RegExp) =>
    refused(() => plan({ model: STORIES, ...options }), message);
  await fails({ recipe: { method: "sparsgpt" } }, /"sparsegpt"/);
  await fails({ recipe: { sparsity: "3:7" } }, /not a multiple of M=7/);
  await fails({ model: join(repositoryRoot, "nowhere") }, /nowhere/);
  await fails({ rat: 1 }, /rat/);
  await fails({ rate: 0 }, /rate\] it is 0, must be multiply-adds per second, above 0/);
  await fails({ threads: -1, rate: 1 }, /threads/);
});

test("the command tells it in lines, and as JSON", async () => {
  const folder = mkdtempSync(join(tmpdir(), "penjing-plan-"));
  try {
    const { code, stdout, stderr } = await penjing(["plan", STORIES, "--out", join(folder, "out")]);
    assert.is(code, 0, stderr);
    const names = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ")[0]);
    assert.equal(names, ["model", "tokens", "memory", "disk", "work", "time", "cheaper"]);
    assert.match(stdout, /^model +llama, 4 blocks, 0\.9187 M parameters, 1\.84 MB$/m);
    assert.match(stdout, /^tokens +32768, 85\.3 x the widest layer's 384 inputs$/m);
    const few = await penjing(["plan", STORIES, "--samples", "2", "--length", "64"]);
    assert.match(few.stdout, /0\.333 x .* \(fewer than 2 x is too few\)$/m);
    const json = await penjing(["plan", STORIES, "--json", "--method", "wanda"]);
    const { phases, rate } = JSON.parse(json.stdout);
    assert.ok(rate > 0);
    assert.equal(
      phases.map(({ phase }: { phase: string }) => phase),
      ["calibrate", "prune", "advance"],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
