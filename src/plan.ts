import type { Plan, PlanOptions } from "./compress/plan/options.js";

export type { Plan, PlannedPhase, PlanOptions } from "./compress/plan/options.js";

/**
 * Tells what `compress` would take on wasm, from config and headers alone: memory, disk and time. One block
 * of each kind goes through the steps on a backend that computes nothing and counts what its tensors and
 * kernels would take, so that plug-ins are planned too.
 *
 * @throws PenjingError as `compress` where model and recipe do not go together
 */
export async function plan(options: PlanOptions): Promise<Plan> {
  // Loaded when it is called for: programs that do the work need none of it.
  const { planRun } = await import("./compress/plan/planner.js");
  return planRun(options);
}
