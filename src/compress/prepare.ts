/** What a run is made of before any work: its model, its steps, and what comes out in which layout. */
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { PenjingError } from "../errors.js";
import { GGUF } from "../export/gguf-options.js";
import type { Layout } from "../layout.js";
import { dense } from "../layouts/dense.js";
import { findLayout } from "../layouts/index.js";
import { readLargeModel } from "../models/stored.js";
import type { Registry } from "../registry.js";
import { pause } from "../run.js";
import { comparesModels } from "../statistic.js";
import type { GgufTarget } from "./gguf-output.js";
import { asAsked, refuseModel, refuseQuantized } from "./input.js";
import type { CompressOptions } from "./options.js";
import { Packing, refuseRotation } from "./output.js";
import { planRecipe, type Recipe } from "./recipe.js";
import { anchorOf, type LayerPlan, statisticsOf } from "./solve.js";
import { Sources } from "./sources.js";
import { tablesIn } from "./tables.js";
import type { Transform } from "./transform.js";
import { prunableLayers } from "./workload.js";

export interface PreparedRun {
  /** With the tokenizer and the dtype that are asked for. */
  readonly checkpoint: Checkpoint;
  readonly sources: Sources;
  readonly steps: readonly Transform[];
  /** What is done with each linear, by name. */
  readonly plan: ReadonlyMap<string, LayerPlan>;
  /** Whether the dense model's stream runs beside the compressed one. */
  readonly twice: boolean;
  /** Where the output is a GGUF file. */
  readonly gguf: GgufTarget | undefined;
  readonly layout: Layout;
  readonly packing: Packing;
}

/**
 * Reads the model's headers and plans the recipe for it.
 *
 * @throws PenjingError when they do not go together
 */
export async function prepareRun(
  opened: Checkpoint,
  options: CompressOptions,
  recipe: Recipe,
  registry: Registry,
): Promise<PreparedRun> {
  const { signal } = options;
  const checkpoint = await asAsked(opened, options);
  const sources = new Sources(await readLargeModel(checkpoint, registry, signal), signal);
  const { model } = sources;
  refuseModel(model, options);
  await pause(signal);
  const linears = prunableLayers(model.spec);
  const gridOf =
    recipe.layout === GGUF ? (await import("./gguf-grids.js")).gridsOf(model, options) : undefined;
  const more = { tables: tablesIn(model), gridOf };
  const steps = await planRecipe(recipe, model.spec, linears, registry, signal, more);
  await pause(signal);
  const compared = comparer(steps, registry);
  const twice = compared !== undefined;
  if (recipe.statistics === "dense" && twice) {
    throw new PenjingError(
      compared,
      "with `statistics: dense` every layer's inputs are the dense model's, so there is nothing to make up for; leave one of the two out.",
    );
  }
  const plan = new Map(steps.flatMap(({ layers }) => [...layers]));
  refuseQuantized(model, plan, recipe);
  const gguf =
    recipe.layout === GGUF
      ? await (await import("./gguf-output.js")).planGguf(model, plan, options)
      : undefined;
  const layout = gguf ? dense : findLayout(recipe.layout, "layout", registry.layouts);
  await pause(signal);
  const packing = new Packing(model, plan, layout);
  refuseRotation(layout, recipe);
  return { checkpoint, sources, steps, plan, twice, gguf, layout, packing };
}

/** What reads statistics that compare the dense model's inputs with the compressed one's, if anything. */
function comparer(steps: readonly Transform[], { statistics }: Registry): string | undefined {
  const plans = steps.flatMap(({ layers }) => [...layers.values()]);
  const plan = plans.find((one) =>
    statisticsOf(one).some((name) => comparesModels(statistics[name])),
  );
  return plan && (anchorOf(plan) ?? plan.method.name);
}
