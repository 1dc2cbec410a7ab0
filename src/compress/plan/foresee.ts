/** Refuses runs that cannot end, before any work, and says what would do. */
import { WASM_BYTES } from "../../backends/memory.js";
import { bytesText } from "../../bytes-text.js";
import { type Checkpoint, openCheckpoint, storedBytes } from "../../checkpoint/checkpoint.js";
import { PenjingError } from "../../errors.js";
import { freeDisk } from "../../platform/free-disk.js";
import { type Recipe, readRecipe } from "../recipe.js";
import { openCompressRegistry } from "../registry.js";
import type { Plan, PlanOptions } from "./options.js";
import { planRun } from "./planner.js";

/** Smaller models run where penjing does, and planning would take longer than it spares. */
const LARGE = 2 ** 28;

export interface ForeseenRun extends Omit<PlanOptions, "rate"> {
  /** Bytes that it may take at most. @default what the machine, or its container, has */
  readonly maxMemory?: number | undefined;
  /** Whether it surely runs on wasm. @default false */
  readonly isOnWasm?: boolean | undefined;
  /** Whether the disk is looked at: not where an earlier run has written a part of it. @default true */
  readonly looksAtDisk?: boolean | undefined;
  /** Whether there can be a work folder for the streams. @default true */
  readonly canSpill?: boolean | undefined;
  /** Where the work folder is to be. @default beside the output */
  readonly work?: string | undefined;
}

/**
 * Plans a run of a large model, or of any where `maxMemory` is given.
 *
 * @throws PenjingError when it would take more memory or disk than there is
 */
export async function refuseTooLarge({ model, ...run }: ForeseenRun): Promise<void> {
  const { signal } = run;
  const opened = typeof model === "string" ? await openCheckpoint(model, { signal }) : model;
  try {
    const isLarge = storedBytes(opened.tensors.values()) >= LARGE;
    if (isLarge || run.maxMemory !== undefined) await refuseAbove(opened, run);
  } finally {
    if (typeof model === "string") await opened.close();
  }
}

async function refuseAbove(
  model: Checkpoint,
  { maxMemory, isOnWasm, looksAtDisk = true, canSpill, work, ...run }: Omit<ForeseenRun, "model">,
): Promise<void> {
  const planned = async (more: Partial<PlanOptions> = {}) => {
    // What is wrong with the inputs the run itself says, and better.
    const found = await planRun({ ...run, ...more, model, rate: 1 }).catch(() => undefined);
    run.signal?.throwIfAborted();
    return found;
  };
  const first = await planned();
  const workDisk = work === undefined ? undefined : await freeDisk(work);
  const fault = first && faultOf(first, { maxMemory, isOnWasm, looksAtDisk, workDisk });
  if (!fault) return;
  const ways = fault.cure ? [] : await waysOut(first, fault, run, { canSpill, planned });
  const cure = fault.cure ?? cureOf(ways, fault);
  throw new PenjingError(fault.where, `${fault.sentence}; ${cure}.`);
}

/** What a run would take too much of. */
export interface Fault {
  readonly where: string;
  readonly sentence: string;
  /** What is taken too much of, in bytes, and how much there is. */
  readonly taken: (plan: Plan) => number;
  readonly limit: number;
  /** Where other settings of the windows do not change it. */
  readonly cure?: string;
}

interface Terms extends Pick<ForeseenRun, "maxMemory" | "isOnWasm" | "looksAtDisk"> {
  /** Free where the work folder is to be. @default it is beside the output */
  readonly workDisk?: number | undefined;
}

/** Disks of which so much less is free than of another are other ones. */
const SAME_DISK = 2 ** 24;

/** The first thing that there is too little of, if any. */
export function faultOf(
  { memory, disk, machine }: Plan,
  { maxMemory, isOnWasm = false, looksAtDisk = true, workDisk }: Terms,
): Fault | undefined {
  if (isOnWasm && memory.wasm > WASM_BYTES) {
    return {
      where: "wasm",
      sentence: `the run would take ${bytesText(memory.wasm)} in a WebAssembly memory, which holds ${bytesText(WASM_BYTES)}`,
      taken: (plan) => plan.memory.wasm,
      limit: WASM_BYTES,
      cure: "take a method that needs no Hessian such as wanda, leave anchor and refit out, or give shorter windows (`length`)",
    };
  }
  const limit = maxMemory ?? machine.whole;
  if (limit !== undefined && memory.whole > limit) {
    const has = maxMemory === undefined ? "this machine has" : "`maxMemory` allows";
    return {
      where: "memory",
      sentence: `the run would take ${bytesText(memory.whole)}, ${bytesText(memory.streams)} of it for the windows' activations, and ${has} ${bytesText(limit)}`,
      taken: (plan) => plan.memory.whole,
      limit,
    };
  }
  if (!looksAtDisk || machine.disk === undefined) return undefined;
  const isApart = workDisk !== undefined && Math.abs(workDisk - machine.disk) > SAME_DISK;
  const full = (where: string, what: string, limit: number, taken: Fault["taken"]) => {
    const needed = taken({ memory, disk, machine } as Plan);
    const has = `${bytesText(limit)} are free there`;
    const sentence = `the run would take ${bytesText(needed)} of disk ${what}, and ${has}`;
    return needed > limit ? { where, sentence, limit, taken } : undefined;
  };
  if (!isApart) {
    return full("out", "until it ends", machine.disk, (plan) => plan.disk.out + plan.disk.work);
  }
  return (
    full("out", "for the output", machine.disk, (plan) => plan.disk.out) ??
    full("work", "until it ends", workDisk, (plan) => plan.disk.work)
  );
}

/** A change of a run's settings, planned. */
export interface Way {
  /** As it is given, such as "spill" or "samples: 32". */
  readonly name: string;
  /** What is taken then. */
  readonly taken: number;
  /** What it costs; the end of a clause. */
  readonly cost: string;
}

/** The changes that were planned for a run that is too large, whether they will do or not. */
async function waysOut(
  first: Plan,
  { where, taken, limit }: Fault,
  { recipe: given = {}, spill = false, plugins }: Pick<PlanOptions, "recipe" | "spill" | "plugins">,
  {
    canSpill = true,
    planned,
  }: Pick<ForeseenRun, "canSpill"> & {
    readonly planned: (more: Partial<PlanOptions>) => Promise<Plan | undefined>;
  },
): Promise<Way[]> {
  const recipe = readRecipe(given, "recipe", openCompressRegistry(plugins));
  const ways: Way[] = [];
  const add = async (name: string, more: Partial<PlanOptions>, cost: (plan: Plan) => string) => {
    const plan = await planned(more);
    if (plan) ways.push({ name, taken: taken(plan), cost: cost(plan) });
    return plan;
  };
  if (where === "memory" && !spill && canSpill) {
    await add("spill", { spill: true }, ({ disk }) => {
      return `and takes ${bytesText(disk.work - first.disk.work)} more of disk`;
    });
  }
  if (where !== "memory" && spill) {
    await add("spill: false", { spill: false }, ({ memory }) => {
      return `and takes ${bytesText(memory.whole - first.memory.whole)} more of memory`;
    });
  }
  if (recipe.stream === "f32") {
    const more = { recipe: { ...given, stream: "bf16" } as typeof given };
    await add("stream: bf16", more, () => "and rounds the activations to 16 bits");
  }
  for (let samples = fewer(recipe, first, taken(first) - limit); samples > 0; ) {
    const more = { recipe: { ...given, samples } as typeof given };
    const plan = await add(`samples: ${samples}`, more, ({ tokens }) => {
      const [left, before] = [tokens, first.tokens].map(({ count, widest }) =>
        (count / widest).toPrecision(3),
      );
      return `and leaves ${left} tokens for each input of the widest layer, not ${before}`;
    });
    if (!plan || taken(plan) <= limit) break;
    ways.pop();
    samples = Math.floor(samples / 2);
  }
  return ways;
}

/** The most of a half, a quarter and so on of the windows that may save so many bytes; 0 for none. */
function fewer({ samples }: Recipe, { memory }: Plan, tooMany: number): number {
  let left = Math.floor(samples / 2);
  while (left > 0 && 3 * memory.streams * (1 - left / samples) < tooMany)
    left = Math.floor(left / 2);
  return left;
}

/** What to do where no setting will do, by what there is too little of. */
const ELSE: Readonly<Record<string, string>> = {
  memory:
    "give fewer and shorter windows (`samples`, `length`), take a method that needs no Hessian such as wanda, or allow more",
};

/** What to do, of what was planned. */
export function cureOf(
  ways: readonly Way[],
  { where, limit }: Pick<Fault, "where" | "limit">,
): string {
  const good = ways.filter(({ taken }) => taken <= limit);
  if (good.length > 0) {
    const [one, ...others] = good.map(
      ({ name, taken, cost }, i) =>
        `\`${name}\` ${i === 0 ? "brings it " : ""}to ${bytesText(taken)} ${cost}`,
    );
    return [one, ...others].join(", ");
  }
  const least = Math.min(...ways.map(({ taken }) => taken));
  const tried =
    ways.length > 0
      ? `${ways.map(({ name }) => `\`${name}\``).join(" or ")} would still leave ${bytesText(least)}; `
      : "";
  return `${tried}${ELSE[where] ?? "free some, or choose another disk"}`;
}
