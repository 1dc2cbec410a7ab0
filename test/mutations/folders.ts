/** Folders that penjing itself wrote: unfinished work, and models in its own layouts and forms. */
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { type CompressOptions, type CompressResult, compress } from "../../src/compress.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { memoryWorkFolder } from "../../src/platform/work-folder.js";
import type { Draw } from "./draw.js";
import { jsonText, mutateBytes, mutateJson, mutateTree } from "./json.js";
import type { Case, Files, Kind } from "./kind.js";
import { newerModel, once, TINY_TEXT, tinyFiles } from "./originals.js";
import { readWhole } from "./weights.js";

const QUICK: FlatRecipe = { samples: 2, length: 8 };

/** Runs that leave every kind of part behind. */
export const RECIPES: readonly FlatRecipe[] = [
  { ...QUICK, method: "wanda", layout: "two-four" },
  { ...QUICK, method: "sparsegpt" },
  { ...QUICK, method: "wanda", rotate: { steps: 2, scope: "shared" } },
];

const tiny = () =>
  once("compressed", () => tinyFiles({ intermediate_size: 8, num_hidden_layers: 3 }));

/** Compresses the tiny model, or another one; undefined when it was stopped at an event. */
export async function compressTiny(
  recipe: FlatRecipe,
  backend: Backend,
  where: Pick<CompressOptions, "out" | "work"> & { readonly model?: Files },
  stopAt = Number.POSITIVE_INFINITY,
): Promise<CompressResult | undefined> {
  const abort = new AbortController();
  const { model: files = await tiny(), ...output } = where;
  const options = {
    ...{ model: await openCheckpoint(memoryFolder(files, "model")), recipe, backend },
    ...{ calibration: TINY_TEXT, signal: abort.signal, ...output },
  };
  let seen = 0;
  const run = compress(options);
  try {
    for await (const event of run) {
      if (event.type === "progress" && ++seen === stopAt) abort.abort();
    }
    return await run.result();
  } catch (error) {
    if (abort.signal.aborted) return undefined;
    throw error;
  }
}

/** The files of an undisturbed run, without the report, which tells times. */
export function undisturbed(recipe: FlatRecipe, backend: Backend): Promise<Files> {
  return once(recipe, async () => {
    const out = memoryOutputFolder("out");
    await compressTiny(recipe, backend, { out });
    return lasting(out.files);
  });
}

/** The parts that a run leaves which is stopped at an event. */
export function stopped(recipe: FlatRecipe, backend: Backend, at: number): Promise<Files> {
  return once(`${JSON.stringify(recipe)} ${at}`, async () => {
    const work = memoryWorkFolder("work");
    await compressTiny(recipe, backend, { out: memoryOutputFolder("out"), work }, at);
    const parts: Record<string, Uint8Array> = {};
    for (const name of await work.list()) parts[name] = (await work.read(name))!;
    return parts;
  });
}

/** Asserts that a run gave what an undisturbed one gives. */
export function compareFiles(found: Files, expected: Files): void {
  assert.equal(Object.keys(lasting(found)).sort(), Object.keys(expected).sort());
  for (const [name, bytes] of Object.entries(expected)) {
    assert.is(Buffer.compare(found[name], bytes), 0, `${name} differs from an undisturbed run's`);
  }
}

const DIGEST_BYTES = 32;

/** A part whose header says something else, with the digest of its new bytes, as another version may. */
async function redigested(draw: Draw, part: Uint8Array): Promise<Uint8Array> {
  const body = part.subarray(DIGEST_BYTES);
  const length = Number(new DataView(body.buffer, body.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(body.subarray(8, 8 + length)));
  const text = new TextEncoder().encode(jsonText(mutateTree(draw, header)));
  const start = Math.ceil((8 + length) / 8) * 8;
  const newStart = Math.ceil((8 + text.length) / 8) * 8;
  const bytes = new Uint8Array(newStart + body.length - start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(body.subarray(start), newStart);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return new Uint8Array([...digest, ...bytes]);
}

/** Changes what stands in a work folder; whether all that is damaged can be told by its digest. */
async function mutateParts(
  draw: Draw,
  parts: Record<string, Uint8Array>,
  foreign: Files,
): Promise<boolean> {
  const names = Object.keys(parts);
  if (names.length === 0) return true;
  const [one, other] = [draw.pick(names), draw.pick(names)];
  const name = draw.chance(0.25) ? "index" : one;
  if (draw.chance(0.25)) {
    parts.index = await redigested(draw, parts.index);
    return false;
  }
  draw.pick<() => void>([
    () => {
      parts[name] = mutateBytes(draw, parts[name]);
    },
    () => {
      parts[name] = mutateBytes(draw, parts[name]);
    },
    () => {
      delete parts[name];
    },
    () => {
      [parts[one], parts[other]] = [parts[other], parts[one]];
    },
    () => {
      parts[one] = parts[other];
    },
    () => {
      parts[draw.pick(["x", "stream.9.9", `${one}.copy`, "outer", "__proto__x"])] = parts[one];
    },
    () => {
      const strange = draw.pick(Object.keys(foreign));
      parts[strange] = foreign[strange];
    },
    () => {
      for (const every of names) if (every !== "index" && draw.chance(0.5)) delete parts[every];
    },
    () => {
      for (const every of names) if (every !== "index") delete parts[every];
    },
  ])();
  return true;
}

/** Without the report, which tells times. */
function lasting({ "penjing-report.json": _, ...files }: Files): Files {
  return files;
}

async function workCase(draw: Draw, backend: Backend): Promise<Case> {
  const recipe = draw.pick(RECIPES);
  const at = draw.pick([3, 8, 13, 18, 24]);
  const parts: Record<string, Uint8Array> = { ...(await stopped(recipe, backend, at)) };
  const foreign = await stopped({ ...recipe, seed: 5 }, backend, 13);
  const isTold = await mutateParts(draw, parts, foreign);
  return {
    files: parts,
    async read() {
      const work = memoryWorkFolder("work");
      for (const [name, bytes] of Object.entries(parts)) await work.write(name, bytes);
      const out = memoryOutputFolder("out");
      assert.ok(await compressTiny(recipe, backend, { out, work }));
      if (isTold) compareFiles(out.files, await undisturbed(recipe, backend));
      assert.equal(await work.list(), []);
    },
  };
}

const MADE: readonly FlatRecipe[] = [
  { ...QUICK, method: "wanda", layout: "two-four" },
  { ...QUICK, method: "magnitude", layout: "sparse-bitmask" },
  { ...QUICK, method: "armor", options: { iterations: 2, blockSize: 4 }, layout: "two-four" },
  { ...QUICK, method: "wanda", rotate: { steps: 1 } },
];

/** A newer family's model, packed. */
async function packedNewer(draw: Draw, backend: Backend): Promise<Files> {
  const model = await newerModel(draw);
  return once(model, async () => {
    const out = memoryOutputFolder("out");
    const recipe: FlatRecipe = { ...QUICK, method: "magnitude", layout: "two-four" };
    await compressTiny(recipe, backend, { out, model });
    return lasting(out.files);
  });
}

/** A model that penjing wrote, whose weights or penjing.json were changed. */
async function packedCase(draw: Draw, backend: Backend): Promise<Case> {
  const isNewer = draw.chance(0.3);
  const recipe = draw.pick(MADE);
  const made = await (isNewer ? packedNewer(draw, backend) : undisturbed(recipe, backend));
  const files: Record<string, Uint8Array> = { ...made };
  const side = () => JSON.parse(new TextDecoder().decode(made["penjing.json"]));
  draw.pick<() => void>([
    () => {
      files["penjing.json"] = mutateJson(draw, side());
    },
    () => {
      const { forms } = side();
      files["penjing.json"] = new TextEncoder().encode(
        jsonText({ forms: mutateTree(draw, forms ?? {}) }),
      );
    },
    () => {
      delete files["penjing.json"];
    },
    () => {
      files["model.safetensors"] = mutateBytes(draw, made["model.safetensors"]);
    },
    () => {
      files["model.safetensors"] = mutateTail(draw, made["model.safetensors"]);
    },
    () => {
      files["model.safetensors"] = mutateHead(draw, made["model.safetensors"]);
    },
  ])();
  return {
    files,
    async read() {
      await readWhole(await openCheckpoint(memoryFolder(files)), backend);
    },
  };
}

/** Changes bytes behind the header: indices, bit masks, values. */
function mutateTail(draw: Draw, file: Uint8Array): Uint8Array {
  const copy = file.slice();
  const start = 8 + new DataView(copy.buffer).getUint32(0, true);
  for (let i = 0; i < 20; i++) copy[start + draw.below(copy.length - start)] = draw.below(256);
  return copy;
}

/** Changes the header, whose length fits. */
function mutateHead(draw: Draw, file: Uint8Array): Uint8Array {
  const end = 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, end)));
  const text = new TextEncoder().encode(jsonText(mutateTree(draw, header)));
  const copy = new Uint8Array(8 + text.length + file.length - end);
  new DataView(copy.buffer).setBigUint64(0, BigInt(text.length), true);
  copy.set(text, 8);
  copy.set(file.subarray(end), 8 + text.length);
  return copy;
}

export const works: Kind = { name: "work folder", share: 3, make: workCase };
export const packed: Kind = { name: "packed", share: 2, make: packedCase };
