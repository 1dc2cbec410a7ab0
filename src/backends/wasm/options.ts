import { ANY, type Arguments } from "../../arguments.js";
import { PenjingError } from "../../errors.js";
import { hasRelaxedSimd, SIMDS, type Simd } from "./module.js";
import { SHAPES } from "./tune.js";

/** How the WebAssembly backend runs. */
export interface WasmOptions {
  /**
   * Threads to compute with, the caller's own included; all give the same results, bit for bit. One
   * where a runtime has no threads that share memory.
   *
   * @default "auto": as many as there are cores, at most 8
   */
  readonly threads?: number | "auto" | undefined;
  /**
   * `relaxed` fuses multiplications with additions where the machine can, which is faster and rounds
   * once less; `baseline` gives the same bytes on every machine.
   *
   * @default "auto": relaxed where the runtime has it
   */
  readonly simd?: Simd | "auto" | undefined;
}

/** The same, with what only benchmarks and tests choose. */
export interface TunedWasmOptions extends WasmOptions {
  /**
   * The micro-kernel of matrix products, an index into SHAPES of tune.ts; no result depends on it.
   *
   * @default the fastest by a measurement of 10 to 80 ms, made once
   */
  readonly shape?: number | undefined;
  /** Most bytes that its memory may have. @default what WebAssembly addresses */
  readonly mostBytes?: number | undefined;
}

/** Those options, for the lists of what a call takes; their values are checked below. */
export const WASM_ARGUMENTS: Arguments<WasmOptions> = { threads: ANY, simd: ANY };

const MOST_THREADS = 256;

/** @throws PenjingError for a value that cannot be, or cannot be here */
export function checkWasmOptions(options: TunedWasmOptions): void {
  const { simd = "auto", threads = "auto", shape = 0 } = options;
  if (!(shape in SHAPES)) {
    throw new PenjingError("shape", `${shape} is not one of 0 to ${SHAPES.length - 1}.`);
  }
  if (simd !== "auto" && !SIMDS.includes(simd)) {
    throw new PenjingError("simd", `"${simd}" is not one of auto, ${SIMDS.join(", ")}.`);
  }
  if (simd === "relaxed" && !hasRelaxedSimd()) {
    throw new PenjingError(
      "simd",
      "this runtime has no relaxed SIMD (Node 22 or newer, Chrome 114, Firefox 145); use auto or baseline.",
    );
  }
  const isCount = Number.isInteger(threads) && Number(threads) >= 1;
  if (threads === "auto" || (isCount && Number(threads) <= MOST_THREADS)) return;
  throw new PenjingError(
    "threads",
    `${threads} is not a number of threads; give a whole number from 1 to ${MOST_THREADS}, or auto.`,
  );
}
