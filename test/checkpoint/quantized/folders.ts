import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { fromFloat32 } from "../../../src/checkpoint/dtype.js";
import { exportModel } from "../../../src/export.js";
import { memoryOutputFolder } from "../../../src/platform/files.js";
import { type Files, parseWeights, type Stored } from "../../compress/stories.js";
import { askProgram, hasModules, withoutPython } from "../../oracles/oracles.js";
import { repositoryRoot } from "../../shared.js";

/** Python packages without which the tests of this folder that need some are skipped. */
const MODULES = ["torch", "transformers", "compressed_tensors"] as const;
export const HAS_PYTHON = hasModules(...MODULES);
export const WITHOUT_PYTHON = withoutPython(...MODULES);

/** The embedded model's folder. */
export const BASE = join(repositoryRoot, "examples", "stories-1m");

/** Runs with a folder that is removed afterwards. */
export async function withFolder(run: (root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "penjing-quantized-"));
  try {
    await run(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Asks a program of this folder. */
export function ask(question: unknown, program: string): unknown {
  return askProgram(question, "checkpoint", "quantized", program);
}

/** The tensors of a weight file on the disk. */
export function tensorsAt(...path: readonly string[]): ReadonlyMap<string, Stored> {
  const name = "model.safetensors";
  return parseWeights({ [name]: new Uint8Array(readFileSync(join(...path, name))) }).tensors;
}

/** The weights of a quantized folder must have these values, each rounded to its dtype. */
export async function hasValues(
  path: string,
  expected: ReadonlyMap<string, Stored>,
  what: string,
): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  const decoded = checkpoint.decoded!();
  for (const [name, { dtype, shape, bytes }] of expected) {
    const values = await decoded.readFloat32(name);
    const rounded = fromFloat32(dtype as "F32" | "F16" | "BF16", values);
    assert.equal(decoded.tensors.get(name)!.shape, shape);
    assert.is(Buffer.compare(rounded, bytes), 0, `${what}: ${name} is another matrix`);
  }
  // The same as grids, as they are run.
  const out = memoryOutputFolder();
  await exportModel({ model: checkpoint, out, reconstruct: true }).result();
  const { tensors } = parseWeights(out.files as Files);
  for (const name of expected.keys()) {
    const { dtype, bytes } = tensors.get(name)!;
    const values = await decoded.readFloat32(name);
    const rounded = fromFloat32(dtype as "F16" | "BF16", values);
    assert.is(Buffer.compare(rounded, bytes), 0, `${what}: ${name} runs as another matrix`);
  }
  await checkpoint.close();
}
