import type { Backend } from "../backend.js";
import { weightShape } from "../backends/operations/form.js";
import type { BlockWeights, LinearObserver } from "../models/decoder.js";
import { operationSteps, type Work } from "../steps.js";
import { rowsOf, type Tensor } from "../tensor.js";
import type { PrunedLayer } from "./layer.js";

/** Adds up ||X Dᵀ||² and ||X Wᵀ||², batch by batch, for layers whose error no Hessian gives. */
export class ErrorSums {
  private readonly sums = new Map<string, Promise<number>[][]>();

  constructor(
    private readonly backend: Backend,
    private readonly dense: BlockWeights,
    private readonly pruned: ReadonlyMap<string, PrunedLayer>,
  ) {}

  readonly observe: LinearObserver = (name, input) => {
    const difference = this.pruned.get(name)?.difference;
    return difference && this.add(name, input, difference);
  };

  private *add(name: string, input: Tensor, difference: Tensor): Work {
    const { backend } = this;
    const { weight: original } = this.dense.linears[name];
    const out = backend.zeros([rowsOf(input), weightShape(original)[0]]);
    try {
      const energies: Promise<number>[] = [];
      for (const weight of [difference, original]) {
        yield* operationSteps(backend, "multiply", input, weight, out);
        energies.push(backend.ops.sumOfSquares(out));
      }
      this.sums.set(name, [...(this.sums.get(name) ?? []), energies]);
    } finally {
      out.dispose();
    }
  }

  /** Completes a layer's report with the error that a pass measured. */
  async close(name: string, layer: PrunedLayer): Promise<PrunedLayer> {
    const sums = this.sums.get(name);
    if (!sums) return layer;
    const totals = [0, 0];
    for (const pair of sums) {
      for (const [i, sum] of (await Promise.all(pair)).entries()) totals[i] += sum;
    }
    const error = totals[1] > 0 ? totals[0] / totals[1] : 0;
    return { ...layer, report: { ...layer.report, layerError: error } };
  }
}
