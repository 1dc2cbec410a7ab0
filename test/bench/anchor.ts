import type { FlatRecipe } from "../../src/compress/recipe.js";
import { densePerplexity, embeddedCase, measure, sharedCases } from "./cases.js";
import type { BenchOptions, Figure } from "./measure.js";

const ANCHORS = [0, 0.25, 0.5, 0.75, 1];
/** What is anchored further: behind replaced linears of the same block, and for the residual stream. */
const FURTHER: Readonly<Record<string, FlatRecipe>> = {
  "true-sequential, no anchor": { statistics: "true-sequential", anchor: 0 },
  "anchor 0.5, true-sequential": { statistics: "true-sequential" },
  "anchor 0.5, anchor residual": { anchorResidual: 0.5 },
  "anchor 0.5, true-sequential, anchor residual": {
    statistics: "true-sequential",
    anchorResidual: 0.5,
  },
};

/** What is anchored, with refit where the method does not fit its factors itself. */
const PRUNERS: Readonly<Record<string, FlatRecipe>> = {
  sparsegpt: { method: "sparsegpt", refit: 10 },
  wanda: { method: "wanda", refit: 10 },
  admm: { method: "admm", refit: 10 },
  "sparsegpt, turned heads": { method: "sparsegpt", refit: 10, rotate: { scope: "heads" } },
  "admm, turned heads": { method: "admm", refit: 10, rotate: { scope: "heads" } },
  "sparsegpt, rotated (block)": { method: "sparsegpt", refit: 10, rotate: {} },
  armor: { method: "armor", options: { iterations: 500, learningRate: 1e-3 } },
};

/** Perplexity at 2:4 of every pruner alone, with refit, and with refit and anchors. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const model of quick ? [embeddedCase()] : [embeddedCase(), ...sharedCases()]) {
    const dense = await densePerplexity(model);
    figures.push({ name: `${model.name} dense`, value: dense, unit: "perplexity" });
    for (const [name, { refit, ...alone }] of Object.entries(PRUNERS)) {
      const found = async (what: string, recipe: FlatRecipe) => {
        const samples = quick ? 16 : 128;
        const { perplexity: value } = await measure(model, { ...recipe, samples }, what);
        const ratio = value / dense;
        figures.push({
          name: `${model.name} ${what}`,
          value,
          unit: "perplexity",
          ratio,
          against: "dense",
        });
      };
      if (refit) await found(name, alone);
      for (const anchor of quick ? [0.25] : ANCHORS) {
        const fitted = refit ? ", refit" : "";
        await found(`${name}${fitted}, anchor ${anchor}`, { ...alone, refit: refit ?? 0, anchor });
      }
      for (const [what, further] of Object.entries(FURTHER)) {
        const recipe = { ...alone, refit: refit ?? 0, anchor: 0.5, ...further };
        await found(`${name}, ${what}`, recipe);
      }
    }
  }
  return figures;
}
