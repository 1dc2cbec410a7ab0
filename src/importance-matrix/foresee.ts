/** Refuses what there is no memory for, before any work. */
import type { Backend } from "../backend.js";
import { openCounting } from "../backends/counting.js";
import { bytesText } from "../bytes-text.js";
import { storedBytes } from "../checkpoint/checkpoint.js";
import { batchSequences, type Calibration, closeCalibration } from "../compress/calibration.js";
import { Passes, type Steps } from "../compress/pass.js";
import { ResidualStream, streamBytes } from "../compress/stream.js";
import { PenjingError } from "../errors.js";
import { BlockRunner } from "../models/decoder.js";
import { excess, fits, roomOf } from "../models/fits.js";
import { blockKinds } from "../models/held.js";
import type { StoredModel } from "../models/stored.js";
import { withoutNumbers } from "../models/without-numbers.js";
import { columnSquares } from "../statistics/column-squares.js";
import type { ImportanceMatrixOptions } from "./options.js";
import type { WindowSettings } from "./settings.js";

/** Bytes of models and activations that any machine has room for. */
const SMALL = 2 ** 28;

type GatherBlock = (
  model: StoredModel,
  passes: Passes,
  layer: number,
  advance: boolean,
) => Steps<unknown>;

/**
 * Counts what a run takes, by the code that runs, where that may be too much.
 *
 * @throws PenjingError when there is no room for it
 */
export async function refuseTooLarge(
  model: StoredModel,
  backend: Backend,
  { samples, length, stream: dtype }: WindowSettings,
  { maxMemory, threads, signal }: ImportanceMatrixOptions,
  gatherBlock: GatherBlock,
): Promise<void> {
  const { whole } = streamBytes(samples * length, model.spec.hiddenSize, { dtype });
  const isSmall = storedBytes(model.checkpoint.tensors.values()) + whole < SMALL;
  // A GPU has a memory of its own.
  if ((isSmall && maxMemory === undefined) || backend.name !== "wasm") return;
  const some = Math.min(samples, 2 * batchSequences(samples, length));
  const counting = await openCounting(threads === "auto" ? undefined : threads);
  const calibration: Calibration = {
    runner: new BlockRunner(counting, model.spec, batchSequences(some, length) * length, length),
    stream: new ResidualStream(counting, some * length, model.spec.hiddenSize),
    ...{ samples: some, length },
  };
  try {
    const passes = new Passes(counting, calibration, signal, { columnSquares });
    for (const layer of blockKinds(model)) {
      const isLast = layer + 1 === model.spec.blocks.length;
      const work = gatherBlock(withoutNumbers(model), passes, layer, !isLast);
      for (let step = await work.next(); !step.done; step = await work.next());
    }
    const taken = { wasm: [counting.memory().peak], beside: whole };
    const room = await roomOf(maxMemory);
    if (fits(taken, room)) return;
    throw new PenjingError(
      "memory",
      `the run ${excess(taken, room)}; ${bytesText(whole)} of it are the windows' activations: give fewer windows (\`samples\`), shorter ones (\`length\`), or \`stream: bf16\`.`,
    );
  } finally {
    await closeCalibration(calibration);
    counting.dispose();
  }
}
