import type { FlatRecipe } from "../../src/compress/recipe.js";
import { methods } from "../../src/methods/index.js";
import { parseSparsity } from "../../src/sparsity.js";
import { densePerplexity, embeddedCase, type Measured, measure, sharedCases } from "./cases.js";
import type { BenchOptions, Figure } from "./measure.js";

/** A line of the table. */
interface Row {
  readonly name: string;
  readonly recipe: FlatRecipe;
  /** The line whose gap to the dense model this one is to close. */
  readonly against?: string;
}

/** ARMOR's faster schedule, for the lines that say so: a sixth of the default's iterations. */
const FAST = { learningRate: 1e-3, iterations: 500 };

/** Methods whose outcome has factors. */
const FACTORED: readonly {
  readonly name: string;
  readonly method: string;
  /** The unrotated line that it starts from. */
  readonly start: string;
  readonly options: Readonly<Record<string, number>>;
  /** What all lines but the first run with instead of the default schedule. */
  readonly fast: Readonly<Record<string, number>>;
}[] = [
  {
    name: "armor 2:4, no rounds",
    method: "armor",
    start: "nowag",
    options: { rounds: 0 },
    fast: FAST,
  },
  { name: "armor 2:4", method: "armor", start: "nowag", options: {}, fast: FAST },
  {
    name: "armor-hessian 2:4",
    method: "armor-hessian",
    start: "sparsegpt",
    options: {},
    fast: {},
  },
];
const BLOCK_SIZES = [4, 8, 16, 32];

/** Every pruner alone, and after a rotation of each block and one of all blocks. */
function pruned(sparsity: string, scopes = ["block", "shared"]): Row[] {
  const layout = sparsity === "2:4" ? "two-four" : "dense";
  const rows: Row[] = [];
  for (const [method, { refusal, form }] of Object.entries(methods)) {
    if (refusal?.(parseSparsity(sparsity)) || form) continue;
    const recipe = { method, sparsity, layout };
    const against = `${method} ${sparsity}`;
    rows.push({ name: against, recipe });
    for (const scope of scopes) {
      rows.push({
        name: `${against}, rotated (${scope})`,
        recipe: { ...recipe, rotate: { scope } },
        against,
      });
    }
    if (method !== "sparsegpt" || sparsity !== "2:4") continue;
    const rotate = { loss: "entropy" as const };
    rows.push({
      name: `${against}, rotated (block, entropy)`,
      recipe: { ...recipe, rotate },
      against,
    });
  }
  return rows;
}

/** Every method with factors at several block sizes, and after a rotation. */
function factored(): Row[] {
  const rows: Row[] = [];
  for (const { name, method, start, options: always, fast } of FACTORED) {
    const recipe = { method, sparsity: "2:4", layout: "two-four", options: always };
    const against = `${start} 2:4`;
    rows.push({ name, recipe, against });
    const isPublished = always.rounds === 0;
    const label = fast === FAST ? `${name}, 500 iterations of 1e-3` : name;
    for (const blockSize of BLOCK_SIZES) {
      const options = { ...always, ...fast, blockSize };
      rows.push({
        name: `${label}, blocks of ${blockSize}`,
        recipe: { ...recipe, options },
        against,
      });
    }
    for (const scope of isPublished ? [] : ["block", "shared"]) {
      rows.push({
        name: `${label}, rotated (${scope})`,
        recipe: { ...recipe, options: { ...always, ...fast }, rotate: { scope } },
        against,
      });
    }
  }
  return rows;
}

/**
 * What each method costs and keeps, on the embedded model and on those of ../shared: perplexity, the
 * share of the gap to the dense model that it closes, bytes (2:4 packed), mean layer error, seconds.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const model of quick ? [embeddedCase()] : [embeddedCase(), ...sharedCases()]) {
    const dense = await densePerplexity(model);
    figures.push({ name: `${model.name} dense`, value: dense, unit: "perplexity" });
    const known = new Map<string, Measured>();
    const rows = [...pruned("2:4"), ...factored(), ...pruned("50%")];
    if (model.name === "stories-1m") rows.push(...pruned("4:8", []));
    for (const { name, recipe, against } of quick ? rows.slice(0, 3) : rows) {
      const measured = await measure(model, quick ? { ...recipe, samples: 16 } : recipe, name);
      known.set(name, measured);
      figures.push(
        ...figuresOf(`${model.name} ${name}`, measured, dense, known.get(against ?? "")),
      );
    }
  }
  return figures;
}

function figuresOf(
  name: string,
  { perplexity, share, bytes, layerError, seconds }: Measured,
  dense: number,
  start: Measured | undefined,
): Figure[] {
  const figures: Figure[] = [
    { name, value: perplexity, unit: "perplexity", ratio: perplexity / dense, against: "dense" },
    { name: `${name}: size`, value: bytes, unit: "bytes", ratio: share, against: "dense" },
    { name: `${name}: layer error`, value: layerError, unit: "of the output" },
    { name: `${name}: time`, value: seconds, unit: "s" },
  ];
  if (!start) return figures;
  const closed = (start.perplexity - perplexity) / (start.perplexity - dense);
  return [...figures, { name: `${name}: gap closed`, value: closed, unit: "of the gap" }];
}
