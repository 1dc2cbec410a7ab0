import type { Backend } from "../backend.js";
import type { BlockWeights, LinearObserver } from "../decoder.js";
import type { LinearName } from "../model.js";
import { byRows } from "../steps.js";
import { rowsOf, type Tensor } from "../tensor.js";
import type { PrunedLayer } from "./layer.js";

/** Adds up ||X Dᵀ||² and ||X Wᵀ||², batch by batch, for layers whose error no Hessian gives. */
export class ErrorSums {
  private readonly sums = new Map<LinearName, Promise<number>[][]>();

  constructor(
    private readonly backend: Backend,
    private readonly dense: BlockWeights,
    private readonly pruned: ReadonlyMap<LinearName, PrunedLayer>,
  ) {}

  readonly observe: LinearObserver = (name, input) => {
    const difference = this.pruned.get(name)?.difference;
    return difference && this.add(name, input, difference);
  };

  private *add(name: LinearName, input: Tensor, difference: Tensor): Generator<void, void, void> {
    const { backend } = this;
    const original = this.dense.linears[name].weight as Tensor;
    const tokens = rowsOf(input);
    const out = backend.zeros([tokens, rowsOf(original)]);
    try {
      const energies: Promise<number>[] = [];
      for (const weight of [difference, original]) {
        yield* byRows(backend, tokens, weight.size, (part) =>
          backend.ops.multiply(part(input), weight, part(out)),
        );
        energies.push(backend.ops.sumOfSquares(out));
      }
      this.sums.set(name, [...(this.sums.get(name) ?? []), energies]);
    } finally {
      out.dispose();
    }
  }

  /** Completes a layer's report with the error that a pass measured. */
  async close(name: LinearName, layer: PrunedLayer): Promise<PrunedLayer> {
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
