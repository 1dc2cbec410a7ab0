import { nearest, nearestHalf, roundScale } from "../backends/operations/fit-scales.js";
import type { MatrixShape, Numbers } from "../form.js";
import { codesOutcome, GRID_OPTIONS, leafOfParts } from "../grid.js";
import type { Method } from "../method.js";
import type { OptionSpecs, OptionsOf } from "../options.js";
import { pacer } from "../run.js";
import { colsOf, rowsOf } from "../tensor.js";

const { bits, groupSize } = GRID_OPTIONS;
const OPTIONS = { bits, groupSize } as const satisfies OptionSpecs;

/** Exponent of the norm that errors are measured by, which forgives large ones. */
const NORM = 0.7;
/** How dear it is at first that what is forgiven differs from the errors, and what that grows by. */
const START = 10;
const GROWTH = 1.01;
const ROUNDS = 20;

type Choice = OptionsOf<typeof OPTIONS>;

function numbersOf({ bits, groupSize: size }: Choice): Numbers {
  return { kind: "affine", bits, groupSize: size === "row" ? undefined : size };
}

/**
 * HQQ: the scale of a group spans it, and its zero point is a float that half-quadratic splitting finds, a norm of
 * exponent 0.7 being what the errors are measured by. It reads no text. The zero points take 16 bits a group.
 */
export const hqq: Method<typeof OPTIONS> = {
  name: "hqq",
  summary: "round to nearest with float zero points; reads no text",
  source: "Badri and Shaji 2023, mobiusml.github.io/hqq_blog",
  needs: () => [],
  options: OPTIONS,
  form: (shape: MatrixShape, choice) => leafOfParts(shape, numbersOf(choice)),
  async prune(problem, choice) {
    const { backend, weight, signal, scaleType = "f16" } = problem;
    const [rows, cols] = [rowsOf(weight), colsOf(weight)];
    const size = choice.groupSize === "row" ? Math.max(1, cols) : choice.groupSize;
    const groups = Math.max(1, Math.ceil(cols / size));
    const values = (await backend.read(weight)) as Float32Array;
    const codes = new Uint8Array(rows * cols);
    const [scales, zeros] = [0, 1].map(() => new Float32Array(rows * groups));
    const most = 2 ** choice.bits - 1;
    const rest = pacer(signal);
    for (let row = 0; row < rows; row++) {
      await rest();
      for (let group = 0; group < groups; group++) {
        const first = row * cols + group * size;
        const w = values.subarray(first, Math.min(first + size, (row + 1) * cols));
        const scale = roundScale(spanOf(w) / most, scaleType);
        const zero = zeroOf(w, scale, most);
        w.forEach((value, i) => {
          const code = codeOf(value, scale, zero, most);
          codes[first + i] = code;
          w[i] = (code - zero) * scale;
        });
        scales[row * groups + group] = scale;
        zeros[row * groups + group] = zero;
      }
    }
    backend.write(weight, values);
    const leaf = leafOfParts([rows, cols], numbersOf(choice));
    const parts = new Map([
      ["values", backend.upload(codes, [rows, cols])],
      ["scales", backend.upload(scales, [rows, groups])],
      ["zeros", backend.upload(zeros, [rows, groups])],
    ]);
    return codesOutcome(problem, { ...leaf, parts }, { figures: {}, notes: [] });
  },
};

/** From the least weight of a group to the largest, 0 being between them. */
function spanOf(w: Float32Array): number {
  let [low, high] = [0, 0];
  for (const value of w) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high - low;
}

function codeOf(value: number, scale: number, zero: number, most: number): number {
  return Math.max(0, Math.min(nearest(value / scale + zero), most) || 0);
}

/** The zero point of a group, as it is stored, with the least mean of errors among those of all rounds. */
function zeroOf(w: Float32Array, scale: number, most: number): number {
  const low = w.reduce((least, value) => Math.min(least, value), 0);
  let [zero, best, least] = [nearestHalf(-low / scale), 0, Number.POSITIVE_INFINITY];
  let stiffness = START;
  for (let round = 0; round < ROUNDS; round++) {
    // Smaller errors are not forgiven, so that most powers need not be known.
    const forgiven = stiffness ** (1 / (NORM - 2));
    let [errors, wanted] = [0, 0];
    for (const value of w) {
      const code = codeOf(value, scale, zero, most);
      const error = value - (code - zero) * scale;
      const size = Math.abs(error);
      errors += size;
      const left = size > forgiven ? size - size ** (NORM - 1) / stiffness : 0;
      wanted += code - (value - Math.sign(error) * left) / scale;
    }
    if (!(errors < least)) break;
    least = errors;
    best = zero;
    zero = nearestHalf(wanted / w.length);
    stiffness *= GROWTH;
  }
  return best;
}
