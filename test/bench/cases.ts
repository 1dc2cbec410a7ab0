import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { hasShared, repositoryRoot, sharedPath } from "../shared.js";

/** A model and the texts that it is calibrated and scored on. */
export interface ModelCase {
  readonly name: string;
  readonly folder: string;
  readonly calibration: string;
  readonly evaluation: string;
}

/** The embedded model. */
export function embeddedCase(): ModelCase {
  const folder = join(repositoryRoot, "examples", "stories-1m");
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  return {
    name: "stories-1m",
    folder,
    calibration: read("calibration.txt"),
    evaluation: read("evaluation.txt"),
  };
}

/** The small models of ../shared on the protocol of golden/model-level; none where it is not there. */
export function sharedCases(): ModelCase[] {
  if (!hasShared()) return [];
  const text = (name: string) => readFileSync(sharedPath("data", "tinystories", name), "utf8");
  // So much holds the calibration tokens of either model.
  const calibration = text("train-slice.txt").slice(0, 180_000);
  const evaluation = text("val.txt").slice(0, 200_000);
  return ["stories260k", "tinystories-656k"].map((name) => ({
    name,
    folder: sharedPath("models", name),
    calibration,
    evaluation,
  }));
}

async function perplexityOf(
  model: Parameters<typeof evaluatePerplexity>[0]["model"],
  { evaluation: text }: ModelCase,
): Promise<number> {
  return (await evaluatePerplexity({ model, text, window: 256 }).result()).perplexity;
}

/** Perplexity of the model as it came. */
export function densePerplexity(model: ModelCase): Promise<number> {
  return perplexityOf(model.folder, model);
}

export interface Measured {
  /** In windows of 256 tokens. */
  readonly perplexity: number;
  /** Bytes of all tensors, 2:4 ones packed where the recipe says so, and as a share of before. */
  readonly bytes: number;
  readonly share: number;
  /** Mean over layers; NaN when none was measured. */
  readonly layerError: number;
  /** Of the compression. */
  readonly seconds: number;
}

/** Compresses a model in memory and scores it; tells on standard error what came out. */
export async function measure(
  model: ModelCase,
  recipe: FlatRecipe,
  name: string,
): Promise<Measured> {
  const out = memoryOutputFolder();
  const { calibration, folder } = model;
  const result = await compress({ model: folder, out, calibration, recipe }).result();
  const { layers, totals, seconds } = result;
  const pruned = await openCheckpoint(memoryFolder(out.files));
  const perplexity = await perplexityOf(pruned, model);
  console.error(`${model.name} ${name}: ${perplexity.toFixed(3)} after ${seconds.toFixed(0)} s`);
  return {
    perplexity,
    bytes: totals.bytesAfter,
    share: totals.bytesAfter / totals.bytesBefore,
    layerError: layers.reduce((sum, { layerError = NaN }) => sum + layerError, 0) / layers.length,
    seconds,
  };
}
