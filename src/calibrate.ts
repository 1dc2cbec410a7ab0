import type { Backend } from "./backend.js";
import { PenjingError } from "./errors.js";
import type { StatisticName, Statistics } from "./method.js";
import { operationSteps } from "./steps.js";
import { rowsOf, type Tensor } from "./tensor.js";

/** Characters of text read for each wanted token; longer texts are cut there before tokenising. */
export const CHARACTERS_PER_TOKEN = 64;

/**
 * Cuts token ids into windows from the start.
 *
 * @returns at most `samples` windows of `length` ids, [windows * length]
 * @throws PenjingError when there is not one whole window
 */
export function calibrationWindows(
  ids: Int32Array,
  samples: number,
  length: number,
): { readonly ids: Int32Array; readonly samples: number } {
  const windows = Math.min(samples, Math.floor(ids.length / length));
  if (windows === 0) {
    throw new PenjingError(
      "calibration",
      `the text has ${ids.length} tokens, fewer than one window of ${length}; give a longer text or a smaller \`length\`.`,
    );
  }
  return { ids: ids.slice(0, windows * length), samples: windows };
}

/** Gathers statistics of one linear layer's inputs, and only those that were asked for. */
export class StatisticsGatherer {
  private tokens = 0;
  private readonly columnSquares: Tensor | undefined;
  private readonly hessian: Tensor | undefined;

  /**
   * @param sequences sequences that the inputs come from, which scales the Hessian
   */
  constructor(
    private readonly backend: Backend,
    inFeatures: number,
    private readonly sequences: number,
    needs: ReadonlySet<StatisticName>,
  ) {
    if (needs.has("columnSquares")) this.columnSquares = backend.zeros([inFeatures]);
    if (needs.has("hessian")) this.hessian = backend.zeros([inFeatures, inFeatures]);
  }

  /**
   * The steps of adding inputs.
   *
   * @param input [tokens, inFeatures]
   */
  *add(input: Tensor): Generator<void, void, void> {
    const { backend, columnSquares, hessian } = this;
    this.tokens += rowsOf(input);
    if (columnSquares) backend.ops.accumulateColumnSquares(input, columnSquares);
    if (!hessian) return;
    yield* operationSteps(backend, "accumulateHessian", input, hessian, 2 / this.sequences);
  }

  /**
   * @param name the layer, for the message
   * @throws PenjingError when the inputs held NaN or infinity
   */
  async finish(name: string): Promise<Statistics> {
    const { columnSquares, hessian, sequences, tokens } = this;
    if (hessian) this.backend.ops.mirrorUpper(hessian);
    for (const gathered of [columnSquares, hessian]) {
      if (!gathered || (await this.backend.ops.countNonFinite(gathered)) === 0) continue;
      throw new PenjingError(
        name,
        "its calibration inputs hold NaN, infinity or values too large for float32; the checkpoint is damaged or the text is not what the model expects.",
      );
    }
    return { sequences, tokens, columnSquares, hessian };
  }

  dispose(): void {
    this.columnSquares?.dispose();
    this.hessian?.dispose();
  }
}
