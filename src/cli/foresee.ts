/** Refuses runs that cannot end, before any work. */
import { WASM_BYTES } from "../backends/memory.js";
import { type Checkpoint, openCheckpoint, storedBytes } from "../checkpoint/checkpoint.js";
import { PenjingError } from "../errors.js";
import { type Plan, type PlanOptions, plan } from "../plan.js";
import { size } from "./console.js";

/** Smaller models run where penjing does, and planning would take longer than it spares. */
const LARGE = 2 ** 28;

export interface ForeseenRun extends Pick<PlanOptions, "recipe" | "dtype" | "plugins" | "signal"> {
  /** A model folder or file, or an open checkpoint. */
  readonly model: string | Checkpoint;
  readonly out: string;
  /** Whether it surely runs on wasm. */
  readonly isOnWasm: boolean;
  readonly threads?: PlanOptions["threads"];
}

/**
 * Plans a run of a large model.
 *
 * @throws PenjingError when it would take more memory or disk than there is
 */
export async function refuseTooLarge({ model, isOnWasm, ...run }: ForeseenRun): Promise<void> {
  const { signal } = run;
  // What is wrong with the inputs the run itself says, and better.
  const planned = await planLarge(model, run).catch(() => undefined);
  signal?.throwIfAborted();
  if (planned) refuse(planned, isOnWasm);
}

async function planLarge(
  model: string | Checkpoint,
  run: Omit<PlanOptions, "model">,
): Promise<Plan | undefined> {
  const { signal } = run;
  const opened = typeof model === "string" ? await openCheckpoint(model, { signal }) : model;
  try {
    if (storedBytes(opened.tensors.values()) < LARGE) return undefined;
    return await plan({ ...run, model: opened, rate: 1 });
  } finally {
    if (typeof model === "string") await opened.close();
  }
}

const FEWER = "give fewer windows (`samples`), shorter ones (`length`), or `stream: bf16`";

/** @throws PenjingError for the first thing that there is too little of */
export function refuse({ memory, disk, machine }: Plan, isOnWasm: boolean): void {
  if (isOnWasm && memory.wasm > WASM_BYTES) {
    throw new PenjingError(
      "wasm",
      `the run would take ${size(memory.wasm)} in a WebAssembly memory, which holds ${size(WASM_BYTES)}; take a method that needs no Hessian such as wanda, leave anchor and refit out, or give shorter windows (\`length\`).`,
    );
  }
  if (machine.whole !== undefined && memory.whole > machine.whole) {
    throw new PenjingError(
      "memory",
      `the run would take ${size(memory.whole)}, ${size(memory.streams)} of it for the windows' activations, and this machine has ${size(machine.whole)}; ${FEWER}.`,
    );
  }
  const needed = disk.out + disk.work;
  if (machine.disk !== undefined && needed > machine.disk) {
    throw new PenjingError(
      "out",
      `the run would take ${size(needed)} of disk until it ends, and ${size(machine.disk)} are free there; free some, choose another disk, or ${FEWER}.`,
    );
  }
}
