import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withOperations } from "../../src/backends/plugged.js";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import {
  evaluatePerplexity,
  exportModel,
  generate,
  inspect,
  memoryFolder,
  memoryOutputFolder,
  openModel,
  packMatrix,
  pruneLinear,
  unpackMatrix,
} from "../../src/index.js";
import { checkLayout, f32, type HostTensor, PenjingError } from "../../src/kit.js";
import { openRegistry } from "../../src/registry.js";
import { PROGRAM, penjing, QUICK as QUICK_FLAGS } from "../cli/program.js";
import {
  CALIBRATION,
  compressFiles,
  EVALUATION,
  type Files,
  storyFiles,
} from "../compress/stories.js";
import { repositoryRoot } from "../shared.js";
import { hasWebGpu, openSharedGpu } from "../webgpu/adapter.js";
import nursery, { parts } from "./plugin.js";

const test = suite("plug-ins");
const plugins = [nursery];
const TEXT = EVALUATION.slice(0, 2000);

/** The message of what a call is refused with. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  return error.message;
}

/** The embedded model as one of the plug-in's family. */
function bonsaiFiles(): Record<string, Uint8Array> {
  const files = storyFiles();
  const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
  const text = JSON.stringify({ ...config, model_type: "bonsai" });
  return { ...files, "config.json": new TextEncoder().encode(text) };
}

const open = (files: Files) => openCheckpoint(memoryFolder(files, "bonsai"));
const RECIPE = { method: "outliers", sparsity: "50%", options: { step: 0.01 } };
const made = await compressFiles(bonsaiFiles(), { ...RECIPE, layout: "inverted" }, { plugins });

test("a method with a statistic, an operation, a layout and a family of its own compresses", () => {
  const { layers, served } = made.result;
  assert.ok(layers.length > 0);
  for (const { method, removed, figures } of layers) {
    assert.is(method, "outliers");
    assert.ok(Math.abs(removed - 0.5) < 0.01);
    assert.ok(figures.rounded > 0 && figures.largestInput > 0);
  }
  const calls = (name: string) => served.find(({ operation }) => operation === name)?.calls ?? 0;
  assert.is(calls("snap"), layers.length);
  assert.ok(calls("columnMaxima") > 0);
  const side = JSON.parse(new TextDecoder().decode(made.files["penjing.json"]));
  assert.equal(side.plugins, [
    {
      ...{ name: "nursery", version: "1.2.0", methods: ["outliers"], layouts: ["inverted"] },
      ...{ families: ["bonsai"], statistics: ["columnMaxima"] },
    },
  ]);
});

test("what came out is scored, continued, listed and exported with the plug-in", async () => {
  const model = await open(made.files);
  const score = await evaluatePerplexity({ model, text: TEXT, window: 64, plugins }).result();
  const dense = await compressFiles(bonsaiFiles(), RECIPE, { plugins });
  const same = { model: await open(dense.files), text: TEXT, window: 64, plugins };
  assert.is(score.nll, (await evaluatePerplexity(same).result()).nll);
  const { ids } = await generate({ model, prompt: "Once", maxNewTokens: 5, plugins }).result();
  assert.is(ids.length, 5);
  const listed = await inspect(model, { plugins }).result();
  assert.is(listed.layout, "inverted");
  assert.is(
    listed.tensors.filter(({ layout }) => layout === "inverted").length,
    made.result.layers.length,
  );
  const out = memoryOutputFolder("out");
  await exportModel({ model, out, layout: "dense", plugins }).result();
  assert.equal(out.files["model.safetensors"], dense.files["model.safetensors"]);
  const opened = await openModel(model, { plugins });
  assert.is(
    (await evaluatePerplexity({ model: opened, text: TEXT, window: 64 }).result()).nll,
    score.nll,
  );
  await opened.close();
});

test("without the plug-in a folder that needs it says so", async () => {
  const model = await open(made.files);
  const cure = "which the plug-in nursery 1.2.0 brings; give that in `plugins`.";
  const layout = `[bonsai] its weights are in the layout inverted, ${cure}`;
  for (const work of [
    () => evaluatePerplexity({ model, text: TEXT }).result(),
    () => generate({ model, prompt: "Once" }).result(),
    () => inspect(model).result(),
    () => exportModel({ model, out: memoryOutputFolder("out") }).result(),
  ]) {
    assert.is(await refusal(work()), layout);
  }
  const dense = await compressFiles(bonsaiFiles(), RECIPE, { plugins });
  const plain = await open(dense.files);
  const message = await refusal(evaluatePerplexity({ model: plain, text: TEXT }).result());
  assert.is(message, `[bonsai/config.json] it is of the family bonsai, ${cure}`);
});

test("a statistic that no rotation turns is gathered again from the rotated block", async () => {
  const steps = [{ rotate: { steps: 2 } }, { prune: { method: "outliers", sparsity: "2:4" } }];
  const recipe = { version: 2, samples: 4, length: 32, steps } as object;
  const { result } = await compressFiles(storyFiles(), recipe, { plugins });
  const plain = await compressFiles(storyFiles(), { method: "outliers" }, { plugins });
  const inputs = (layers: typeof result.layers) =>
    layers.map(({ figures }) => figures.largestInput);
  const [turned, straight] = [inputs(result.layers), inputs(plain.result.layers)];
  assert.ok(turned.every((largest) => largest > 0));
  assert.ok(turned.some((largest, i) => Math.abs(largest / straight[i] - 1) > 0.01));
});

const { operations } = openRegistry(plugins);
const openers = [openReference, openWasm, ...(hasWebGpu ? [openSharedGpu] : [])];
for (const backend of await Promise.all(openers.map((opener) => opener()))) {
  test(`${backend.name}: operations of plug-ins read and write tensors`, async () => {
    const plugged = withOperations(backend, operations);
    const x = plugged.upload(Float32Array.of(1, -4, 0.5, -2, 3, 0.1), [2, 3]);
    const maxima = plugged.zeros([3]);
    await plugged.call<typeof parts.maxima>("columnMaxima", x, maxima);
    assert.equal(await plugged.read(maxima), Float32Array.of(2, 4, 0.5));
    assert.is(await plugged.call<typeof parts.snap>("snap", x, 2), 4);
    assert.equal([...(await plugged.read(x))].map(Math.abs), [2, 4, 0, 2, 4, 0]);
    const lines = plugged.served().filter(({ servedBy }) => servedBy === "plug-in");
    assert.equal(
      lines.map(({ operation, calls }) => [operation, calls]),
      [
        ["columnMaxima", 1],
        ["snap", 1],
      ],
    );
    assert.match(
      await refusal(plugged.call("snip")),
      /no plug-in that was given has the operation "snip"; did you mean "snap"\?/,
    );
    assert.match(await refusal(backend.call("snap")), /give the one that has it in `plugins`/);
    for (const tensor of [x, maxima]) tensor.dispose();
  });
}

test("one matrix is pruned and packed with a plug-in", async () => {
  const weight = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i));
  const activations = Float32Array.from({ length: 24 }, (_, i) => Math.cos(i));
  const linear = { weight, rows: 4, cols: 8, method: "outliers", plugins };
  const pruned = await pruneLinear({ ...linear, activations, options: { step: 0.25 } });
  assert.ok(pruned.weight.every((value) => Number.isInteger(value * 4)));
  const hessian = new Float32Array(64).fill(1);
  assert.match(
    await refusal(pruneLinear({ ...linear, hessian })),
    /hessian does not tell columnMaxima; give activations/,
  );
  const packed = packMatrix("inverted", { weight, rows: 4, cols: 8, plugins });
  assert.equal(unpackMatrix(packed, { plugins }).weight, weight);
  assert.throws(() => unpackMatrix(packed), /"inverted" is not a layout/);
  const bytes = new Uint8Array(weight.buffer);
  checkLayout(parts.layout, { name: "w", dtype: "F32", shape: [4, 8] }, bytes);
});

test("a host tensor has its elements at hand", () => {
  const tensor = { data: Float32Array.of(1) } as object as HostTensor;
  assert.is(f32(tensor)[0], 1);
});

const PLUGIN = join(repositoryRoot, "build", "out", "test", "kit", "plugin.js");

test("the command line compresses, scores and lists with --plugin", async () => {
  assert.ok(PROGRAM.endsWith("cli.js"));
  const folder = mkdtempSync(join(tmpdir(), "penjing-kit-"));
  try {
    const [model, out] = [join(folder, "model"), join(folder, "out")];
    const text = join(folder, "text.txt");
    writeFileSync(text, CALIBRATION);
    mkdirSync(model);
    for (const [name, bytes] of Object.entries(bonsaiFiles())) {
      writeFileSync(join(model, name), bytes);
    }
    const compress = ["compress", model, "--calibration", text, "--out", out, ...QUICK_FLAGS];
    const step = "prune: { method: outliers, sparsity: 50%, step: 0.01 }";
    const more = ["--step", step, "--layout", "inverted", "--quiet", "--plugin", PLUGIN];
    const ended = await penjing([...compress, ...more]);
    assert.is(ended.code, 0, ended.stderr);
    const weights = readFileSync(join(out, "model.safetensors"));
    assert.is(Buffer.compare(weights, made.files["model.safetensors"]), 0);
    const scored = await penjing([
      "eval",
      out,
      "--text",
      text,
      "--window",
      "64",
      "--quiet",
      "--plugin",
      PLUGIN,
    ]);
    assert.is(scored.code, 0, scored.stderr);
    const listed = await penjing(["inspect", out, "--plugin", PLUGIN]);
    assert.match(listed.stdout, /inverted/);
    const lost = await penjing(["generate", out, "Once"]);
    assert.is(lost.code, 1);
    assert.match(lost.stderr, /plug-in nursery 1\.2\.0 brings; give that in --plugin\./);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
