import type { Backend } from "./backend.js";
import { gpuGaveNonFinite, PenjingError } from "./errors.js";
import { HessianCheck } from "./hessian-check.js";
import type { Residual, Statistic, Statistics } from "./statistic.js";
import type { Work } from "./steps.js";
import { rowsOf, type Tensor } from "./tensor.js";

/** Gathers statistics of one linear layer's inputs, and only those that were asked for. */
export class StatisticsGatherer {
  private tokens = 0;
  private readonly tensors: Readonly<Record<string, Tensor>>;
  /** What a Hessian is held against that a GPU gathers, which may compute wrong. */
  private readonly check?: HessianCheck;

  /**
   * @param shape [outFeatures, inFeatures] of the first linear that reads the inputs
   * @param sequences sequences that the inputs come from
   * @param wanted what is gathered
   */
  constructor(
    readonly backend: Backend,
    [outFeatures, inFeatures]: readonly [number, number],
    private readonly sequences: number,
    private readonly wanted: Iterable<Statistic>,
  ) {
    const made = [...wanted].map(
      (one) => [one.name, backend.zeros(one.shape(inFeatures, outFeatures))] as const,
    );
    this.tensors = Object.fromEntries(made);
    if (backend.name === "webgpu" && this.tensors.hessian) {
      this.check = new HessianCheck(backend, inFeatures);
    }
  }

  /**
   * The steps of adding inputs.
   *
   * @param input [tokens, inFeatures]
   * @param dense the same of the dense model, where a statistic sees both
   * @param residual the streams of both models, where a statistic sees them
   */
  *add(input: Tensor, dense?: Tensor, residual?: Residual): Work {
    this.tokens += rowsOf(input);
    for (const statistic of this.wanted) {
      yield* statistic.add(
        this.backend,
        input,
        this.tensors[statistic.name],
        this.sequences,
        dense,
        residual,
      );
    }
    if (this.check) yield* this.check.add(input);
  }

  /**
   * @param name the layer, for the message
   * @throws PenjingError when the inputs held NaN or infinity
   * @throws DeviceError when a GPU gathered what cannot be
   */
  async finish(name: string): Promise<Statistics> {
    const { backend, sequences, tokens, tensors, check } = this;
    for (const statistic of this.wanted) {
      const gathered = tensors[statistic.name];
      statistic.finish?.(backend, gathered);
      if ((await backend.ops.countNonFinite(gathered)) === 0) continue;
      if (backend.name === "webgpu") throw gpuGaveNonFinite(`inputs of ${name}`);
      throw new PenjingError(
        name,
        "its calibration inputs hold NaN, infinity or values too large for float32; the checkpoint is damaged or the text is not what the model expects.",
      );
    }
    await check?.finish(name, tensors.hessian, sequences);
    check?.dispose();
    return { sequences, tokens, tensors };
  }

  dispose(): void {
    this.check?.dispose();
    for (const tensor of Object.values(this.tensors)) tensor.dispose();
  }
}
