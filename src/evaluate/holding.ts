/** How the weights of the models that are scored are held: all in memory where there is room. */
import type { Backend } from "../backend.js";
import { bytesText } from "../bytes-text.js";
import { PenjingError } from "../errors.js";
import { count, excess, fits, roomOf } from "../models/fits.js";
import type { CountedModelOptions } from "../models/held.js";
import type { Holding } from "../models/open.js";
import type { StoredModel } from "../models/stored.js";
import { scoreWindows } from "./score.js";

export interface HoldingOptions extends Pick<CountedModelOptions, "activations"> {
  /** Tokens in each window. */
  readonly window: number;
  readonly lowMemory?: boolean | undefined;
  readonly maxMemory?: number | undefined;
  readonly threads?: number | "auto" | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ChosenHolding extends Holding {
  /** A sentence about it for the user, where it is not what was asked for. */
  readonly note?: string | undefined;
}

/**
 * Chooses how to hold a model, or two that are compared, by what their headers tell.
 *
 * @throws PenjingError when not even a block at a time has room
 */
export async function chooseHolding(
  models: readonly StoredModel[],
  backend: Backend,
  options: HoldingOptions,
): Promise<ChosenHolding> {
  const { window, lowMemory, maxMemory, activations, threads, signal } = options;
  // A GPU has a memory of its own.
  if (backend.name !== "wasm") return { lowMemory };
  const room = await roomOf(maxMemory);
  const taken = (held: { readonly lowMemory: boolean }) =>
    count(
      models,
      { ...held, maxTokens: window, activations, threads, signal },
      async ([model, against]) => {
        const work = scoreWindows(model, new Int32Array(window), window, { against, signal });
        for (let step = await work.next(); !step.done; step = await work.next());
      },
    );
  const whole = lowMemory ? undefined : await taken({ lowMemory: false });
  if (!lowMemory && (!whole || fits({ wasm: whole }, room))) return { lowMemory: false };
  const wasm = await taken({ lowMemory: true });
  if (!wasm) return { lowMemory: true };
  // At least one window's activations.
  const beside = models.reduce((sum, { spec }) => sum + 4 * window * spec.hiddenSize, 0);
  const [what, whose] = models.length > 1 ? ["the two models", "their"] : ["the model", "its"];
  if (!fits({ wasm, beside }, room)) {
    throw new PenjingError(
      models[0].checkpoint.folder.path,
      `even with one block in memory at a time ${what} ${excess({ wasm, beside }, room)}; give a shorter \`window\`, take a smaller model, or allow more.`,
    );
  }
  const parts = wasm.reduce((sum, one) => sum + one, 0);
  const streamBytes = maxMemory && Math.floor((maxMemory - parts) / models.length);
  const note =
    whole &&
    `all ${whose} weights in memory ${excess({ wasm: whole }, room)}: one block's are there at a time, which takes ${bytesText(parts)} and the activations, and gives the same figures`;
  return { lowMemory: true, streamBytes, note };
}
