/** What is said of weights in fewer bits than a model keeps its sense with. */

/** Bits a weight below which something is said. */
const FEW = 3;
/** Fewest bits of codes that keep a model's sense without training. */
const FLOOR = 2;
/** Groups of whole numbers to compare with. */
const GROUPS = [16, 32, 64, 128];
/** How many bits more a grid may take that is said to be as large. */
const SLACK = 0.01;

/** A weight that may be quantized. */
export interface Held {
  /** Bits that each of its elements takes, with all that is stored beside the codes. */
  readonly bitsPerWeight?: number | undefined;
  /** How many elements it has. */
  readonly size: number;
}

/**
 * A sentence about those weights that take fewer than 3 bits each, which names the grid of whole numbers that
 * takes as many bytes; undefined where there are none.
 */
export function fewBitsNote(weights: readonly Held[]): string | undefined {
  let [bits, count] = [0, 0];
  for (const { bitsPerWeight = FEW, size } of weights) {
    if (bitsPerWeight >= FEW) continue;
    bits += bitsPerWeight * size;
    count += size;
  }
  if (count === 0) return undefined;
  const mean = bits / count;
  const what = `quantized weights take ${mean.toFixed(2)} bits each, and below ${FEW} a model that was not trained for it loses much`;
  const takes = (group: number) => FLOOR + 16 / group;
  const peer = GROUPS.find((group) => takes(group) <= mean + SLACK);
  if (peer !== undefined) {
    return `${what}; whole numbers of about these bytes are \`levels: integer\` with \`bits: ${FLOOR}\` and \`groupSize: ${peer}\``;
  }
  const widest = GROUPS[GROUPS.length - 1];
  return `${what}; no whole numbers are that small, and those of \`bits: ${FLOOR}\` and \`groupSize: ${widest}\`, the floor without training, take ${takes(widest).toFixed(2)}`;
}
