import {
  ANY,
  type Arguments,
  CHECKPOINT,
  checkArguments,
  NUMBER,
  required,
  SIGNAL,
} from "./arguments.js";
import type { WasmOptions } from "./backends/wasm/options.js";
import type { CastDType } from "./checkpoint/cast.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import { DTYPE } from "./compress/input.js";
import type { GivenRecipe } from "./compress/recipe.js";
import type { PluginOptions } from "./plugin.js";

export interface PlanOptions extends PluginOptions, Pick<WasmOptions, "threads"> {
  /** As of `compress`. Of a model on the hub only config and headers are read. */
  readonly model: string | Checkpoint;
  /** As of `compress`. @default sparsegpt to 2:4 */
  readonly recipe?: GivenRecipe | undefined;
  /** As of `compress`. @default as the model stores them */
  readonly dtype?: CastDType | undefined;
  /**
   * Multiply-adds per second that the kernels reach here, as `productRate` measures them.
   *
   * @default unknown, so that no times are told
   */
  readonly rate?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What one phase of the work takes, over all blocks. */
export interface PlannedPhase {
  /** "calibrate", "measure", "advance", or what a step does, such as "prune". */
  readonly phase: string;
  /** Multiply-adds, or what takes as long. */
  readonly work: number;
  /** Most bytes that tensors and kernels take in it, in the WebAssembly memory. */
  readonly memory: number;
}

export interface Plan {
  readonly model: {
    readonly type: string;
    readonly blocks: number;
    readonly parameters: number;
    /** Bytes of its tensors as they are stored. */
    readonly bytes: number;
  };
  readonly tokens: {
    /** samples * length. */
    readonly count: number;
    /** Inputs of the widest layer: a Hessian of fewer tokens than these has no full rank. */
    readonly widest: number;
  };
  /** Bytes. */
  readonly memory: {
    /** Most that tensors and kernels take in the WebAssembly memory at a time. */
    readonly wasm: number;
    /** The residual streams of the calibration windows, in the host's memory. */
    readonly streams: number;
    /** What a block's finished tensors take in the host's memory until they are written. */
    readonly block: number;
    /** All of these. */
    readonly whole: number;
  };
  /** Bytes. */
  readonly disk: {
    /** Tensors of the output. */
    readonly out: number;
    /** Most that the folder of unfinished work takes beside it, finished blocks included. */
    readonly work: number;
  };
  readonly phases: readonly PlannedPhase[];
  /** Seconds of `compress`; undefined without a rate. */
  readonly seconds: number | undefined;
}

const ARGUMENTS: Arguments<PlanOptions> = {
  model: required(CHECKPOINT),
  recipe: ANY,
  dtype: DTYPE,
  plugins: ANY,
  threads: NUMBER,
  rate: NUMBER,
  signal: SIGNAL,
};

/**
 * Tells what `compress` would take on wasm, from config and headers alone: memory, disk and multiply-adds.
 * One block of each kind goes through the steps on a backend that computes nothing and counts what its
 * tensors and kernels would take.
 *
 * @throws PenjingError as `compress` does where model and recipe do not go together
 */
export async function plan(options: PlanOptions): Promise<Plan> {
  checkArguments("plan", options, ARGUMENTS);
  const { planSteps } = await import("./compress/plan.js");
  return planSteps(options);
}
