import type { Simd } from "../backends/wasm/module.js";
import type { HubOptions } from "../hub/settings.js";

/** What `doctor` looks at. */
export interface DoctorOptions {
  /** The path whose disk is looked at. @default the folder that the program runs in */
  readonly path?: string | undefined;
  /** How the hub is reached; with `offline: true` nobody is asked. @default by the environment */
  readonly hub?: Omit<HubOptions, "revision" | "signal"> | undefined;
  /** Stops the work. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * How something is: as it should be, something to know that lets penjing do less or work slower, or
 * something broken.
 */
export type Mark = "ok" | "note" | "fault";

/** What is said of every part. */
export interface Finding {
  readonly mark: Mark;
  /** One sentence with what to do; absent where the mark is "ok". */
  readonly cure?: string | undefined;
}

/** What the program runs on. */
export interface RuntimeFinding extends Finding {
  /** Such as "Node.js 22.14.0", or a browser's name for itself. */
  readonly name: string;
  /** Platform and architecture, such as "linux x64". */
  readonly os: string;
}

export interface ProcessorFinding extends Finding {
  /** Absent where the runtime does not tell, as browsers. */
  readonly name?: string | undefined;
  /** Cores that this process may use; absent where the runtime does not tell. */
  readonly cores?: number | undefined;
  /** Threads that wasm takes by default. */
  readonly threads: number;
}

/** WebAssembly with SIMD. */
export interface SimdFinding extends Finding {
  /** What the kernels run with; absent where there is none. */
  readonly simd?: Simd | undefined;
  /** Whether threads can share memory. */
  readonly sharedMemory: boolean;
}

export interface SpeedFinding extends Finding {
  /** Floating-point operations per second of products of float32 on wasm, two to a multiply-add. */
  readonly flops: number;
  /** In which way they were computed, such as "relaxed SIMD, 2 threads". */
  readonly how?: string | undefined;
}

export interface WebGpuFinding extends Finding {
  /** Vendor, architecture and name; absent where there is no adapter. */
  readonly adapter?: string | undefined;
  /** Whether it computes on the CPU. */
  readonly isSoftware?: boolean | undefined;
  /** Whether it computed small products right. */
  readonly passed?: boolean | undefined;
  /** Bytes of its largest buffer. */
  readonly maxBufferBytes?: number | undefined;
  /** Bytes of a buffer that one shader can be given. */
  readonly maxBindingBytes?: number | undefined;
  /** Why there is no adapter, or what it did wrong. */
  readonly reason?: string | undefined;
}

export interface MemoryFinding extends Finding {
  /** Bytes of the machine, or of the container; absent where the runtime does not tell. */
  readonly whole?: number | undefined;
  /** Bytes that can be had now; absent where the runtime does not tell. */
  readonly free?: number | undefined;
  /** Bytes that one WebAssembly memory can have: block, statistics and solving must fit. */
  readonly wasmLimit: number;
}

/** The disk of `path`; absent in browsers and workers. */
export interface DiskFinding extends Finding {
  readonly path: string;
  /** Bytes that may still be written; absent where nobody tells. */
  readonly free?: number | undefined;
}

export interface HubFinding extends Finding {
  /** Its address; absent where the one that is set is none. */
  readonly endpoint?: string | undefined;
  /** Whether a token is set. It is told to nobody but the hub. */
  readonly hasToken?: boolean | undefined;
  /** Whether it answered in time; absent where it was not asked. */
  readonly answers?: boolean | undefined;
  /** Milliseconds that the answer took. */
  readonly milliseconds?: number | undefined;
  /** Why it did not answer, or what was wrong with the answer. */
  readonly reason?: string | undefined;
}

/** The cache of what was downloaded from the hub; absent in browsers and workers. */
export interface CacheFinding extends Finding {
  readonly path: string;
  /** Bytes of its files; 0 where it is not there yet. */
  readonly bytes: number;
  /** Whether all of it was counted: after some seconds the counting ends. */
  readonly isWhole: boolean;
  /** Bytes that may still be written where it is; absent where nobody tells. */
  readonly free?: number | undefined;
}

/** Packages that penjing uses where they are installed; absent in browsers and workers. */
export interface PackagesFinding extends Finding {
  /** By their names. */
  readonly installed: Readonly<Record<string, boolean>>;
}

/** The parts that are looked at, in their order. */
export interface Findings {
  readonly runtime: RuntimeFinding;
  readonly processor: ProcessorFinding;
  readonly simd: SimdFinding;
  /** Absent without SIMD, and where the clock stands still while something is computed. */
  readonly speed?: SpeedFinding | undefined;
  readonly webgpu: WebGpuFinding;
  readonly memory: MemoryFinding;
  readonly disk?: DiskFinding | undefined;
  readonly hub: HubFinding;
  readonly cache?: CacheFinding | undefined;
  readonly packages?: PackagesFinding | undefined;
}

/** What was found on a machine; what a runtime cannot tell is absent. */
export interface Diagnosis extends Findings {
  /** The version of penjing. */
  readonly penjing: string;
  /** Whether there is WebAssembly with SIMD, without which only the slow backend `reference` computes. */
  readonly isFit: boolean;
}

/** One part, as soon as it was looked at. */
export type DoctorEvent = {
  readonly [Part in keyof Required<Findings>]: {
    readonly part: Part;
    readonly finding: NonNullable<Findings[Part]>;
  };
}[keyof Findings];
