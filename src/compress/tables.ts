/** Embedding and head as a step quantizes them: what is asked for, and what it comes to. */
import { PenjingError } from "../errors.js";
import { dense } from "../layouts/dense.js";
import { twoFourInt } from "../layouts/two-four-int.js";
import { ANCHOR } from "../least-squares/anchor.js";
import { type DecoderSpec, outerTensors } from "../model.js";
import { embeddingName, headName, type StoredModel } from "../models/stored.js";
import { definedOnly, type NumberSpec, resolveOptions } from "../options.js";
import { rtn } from "../quantizers/rtn.js";
import type { LayerPlan, Stores } from "./solve.js";
import type {
  PlanTarget,
  ReadStep,
  RunTools,
  Tables,
  Transform,
  TransformRun,
} from "./transform.js";
import { LinearSteps } from "./transforms/linears.js";

/** Most bits for which scales are searched for. */
const SEARCHED_BITS = 4;
/** The part of the journal with the sums of squares of the head's inputs. */
const HEAD_INPUTS = "head.inputs";

function bitsOf(table: string, rest: string) {
  return {
    kind: "number",
    min: 2,
    max: 8,
    integer: true,
    otherwise: `the ${table} stays as it is`,
    description: `bits of the ${table}'s codes, in groups of 32; ${rest}`,
  } as const satisfies NumberSpec;
}

export const TABLE_OPTIONS = {
  embeddingBits: bitsOf("embedding", "a head that is tied to it has the same"),
  headBits: bitsOf("head", "8 cost next to nothing, fewer than 6 more than in other layers"),
};

const layerOf = (weight: string) => weight.replace(/\.weight$/, "");

/** As the family calls them. */
export function tablesOf(spec: DecoderSpec): Tables {
  const { embedding, head } = outerTensors(spec);
  return { embedding: layerOf(embedding), head: layerOf(spec.tiedHead ? embedding : head) };
}

/** As a checkpoint stores them. */
export function tablesIn(model: StoredModel): Tables {
  return { embedding: layerOf(embeddingName(model)), head: layerOf(headName(model)) };
}

type Given = Readonly<{ [Name in keyof typeof TABLE_OPTIONS]?: number | undefined }>;

/** Whether a step is to quantize embedding or head. */
export function asksForTables(options: ReadStep["options"]): boolean {
  return Object.keys(TABLE_OPTIONS).some((name) => options[name] !== undefined);
}

/** What is stored of weights that are quantized. @param keeps whether they are 2:4, on a symmetric grid */
export function storesIn(layout: string, keeps = false): Stores {
  if (layout === dense.name) return "values";
  return keeps && layout === twoFourInt.name ? "kept codes" : "codes";
}

/**
 * What becomes of embedding and head, by name.
 *
 * @throws PenjingError when two steps act on one of them, or tied ones are to have different bits
 */
export function planTables(
  steps: readonly ReadStep[],
  { tables, layout }: Pick<PlanTarget, "tables" | "layout">,
): Map<string, LayerPlan> {
  const plan = new Map<string, LayerPlan>();
  for (const { options, where } of steps) {
    for (const [table, bits] of bitsIn(options as Given, tables, where)) {
      if (plan.has(table)) {
        throw new PenjingError(
          where,
          `quantize acts on ${table}, which an earlier step has quantized, and what is quantized twice is off by both roundings; give its bits to one step.`,
        );
      }
      plan.set(table, {
        method: rtn,
        options: definedOnly(resolveOptions(rtn.options, { bits, weighted: false }, where)),
        sparsity: { kind: "unstructured", ratio: 0 },
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: ANCHOR.anchorDamping.default,
        refit: 0,
        stores: storesIn(layout),
      });
    }
  }
  return plan;
}

/** The bits that a step gives each table. */
function bitsIn(
  { embeddingBits, headBits }: Given,
  { embedding, head }: Tables,
  where: string,
): Map<string, number> {
  const isTied = embedding === head;
  const areTwo = embeddingBits !== undefined && headBits !== undefined;
  if (isTied && areTwo && embeddingBits !== headBits) {
    throw new PenjingError(
      where,
      `embeddingBits is ${embeddingBits} and headBits ${headBits}, but the model's head is its embedding, one matrix; give one of the two.`,
    );
  }
  const bits = new Map<string, number>();
  if (embeddingBits !== undefined) bits.set(embedding, embeddingBits);
  if (headBits !== undefined) bits.set(head, headBits);
  return bits;
}

/** @throws PenjingError when one step turns embedding and head, and another quantizes them */
export function refuseTurnedTables(steps: readonly Transform[]): void {
  const outer = steps.filter(({ changesOuter }) => changesOuter);
  if (outer.length < 2) return;
  throw new PenjingError(
    "embeddingBits",
    "a rotation with the scope shared goes into embedding and head, which are not quantized after it; leave out `embeddingBits` and `headBits`, or rotate with another scope.",
  );
}

/** Steps that quantize embedding or head beside linears. */
export class TableSteps extends LinearSteps {
  override readonly changesOuter = true;

  /** With more bits hardly a scale is tried beside the first, so that it is all one what errors weigh. */
  get readsOutput(): boolean {
    const { embedding, head } = outerTensors(this.spec);
    // A tied one may be stored by either name.
    return [head, ...(this.spec.tiedHead ? [embedding] : [])].some(
      (name) => Number(this.layers.get(layerOf(name))?.options.bits) <= SEARCHED_BITS,
    );
  }

  override start(tools: RunTools): TransformRun {
    const run = super.start(tools);
    const { embedding, head } = tablesIn(tools.model);
    const last = tools.model.spec.blocks.length - 1;
    return {
      needs: run.needs.bind(run),
      apply: run.apply.bind(run),
      ...(this.readsOutput && {
        async *observeOutput() {
          const { observeHead } = await import("./quantize-table.js");
          yield* observeHead(tools, HEAD_INPUTS);
        },
        partsOf: (layer) =>
          layer === last && tools.passes.calibration.samples > 0 ? [HEAD_INPUTS] : [],
      }),
      finish: async (unit, signal) => {
        const { quantizeTable } = await import("./quantize-table.js");
        const layers = [];
        for (const name of new Set([embedding, head])) {
          const plan = this.layers.get(name);
          if (!plan) continue;
          const known = name === head ? await tools.journal.load(HEAD_INPUTS) : undefined;
          const squares = known?.arrays.get("squares") as Float32Array | undefined;
          layers.push(await quantizeTable(tools, { name, plan, squares }, unit, signal));
        }
        return { layers };
      },
    };
  }
}
