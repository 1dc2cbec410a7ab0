import type { WasmOptions } from "../../backends/wasm/options.js";
import type { CastDType } from "../../checkpoint/cast.js";
import type { Checkpoint } from "../../checkpoint/checkpoint.js";
import type { HubAccess } from "../../hub/hub.js";
import type { MachineMemory } from "../../platform/memory.js";
import type { PluginOptions } from "../../plugin.js";
import type { GivenRecipe } from "../recipe.js";

export interface PlanOptions extends PluginOptions, Pick<WasmOptions, "threads"> {
  /** As of `compress`. Of a model on the hub only config and headers are read. */
  readonly model: string | Checkpoint;
  /** As of `compress`. @default sparsegpt to 2:4 */
  readonly recipe?: GivenRecipe | undefined;
  /** As of `compress`. @default as the model stores them */
  readonly dtype?: CastDType | undefined;
  /** Whether there is a calibration text: methods that read no inputs do without. @default true */
  readonly hasText?: boolean | undefined;
  /** Where the output would be, or what is near it: its disk is asked what is free. @default "." */
  readonly out?: string | undefined;
  /** As of `compress`. @default false */
  readonly spill?: boolean | undefined;
  /** How a model on the Hugging Face hub is reached, for a name in the place of a path. */
  readonly hub?: HubAccess | undefined;
  /**
   * Multiply-adds per second of a large product on the machine that the run is planned for.
   *
   * @default measured here, which takes a second
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
    /**
     * The same of a second one, which has the statistics of the widest inputs where one memory has no room
     * for them; else 0.
     */
    readonly second: number;
    /** The residual streams of the calibration windows, in the host's memory; with `spill` what it has of them. */
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
  /** Multiply-adds per second that the times are told for; undefined where they cannot be measured. */
  readonly rate: number | undefined;
  /** Seconds of `compress` with that rate, about. */
  readonly seconds: number | undefined;
  /** The same with a quarter of the windows, where enough tokens would be left. */
  readonly fewer: { readonly samples: number; readonly seconds: number | undefined } | undefined;
  /** Bytes of this machine; what nobody tells is absent. */
  readonly machine: MachineMemory & {
    /** Free on the output's disk. */
    readonly disk?: number | undefined;
  };
}
