import * as assert from "uvu/assert";
import * as penjing from "../../src/index.js";
import { Random } from "../../src/random.js";
import { compressFiles, EVALUATION, storyFiles } from "../compress/stories.js";
import { goldenLayer, readShared } from "../golden.js";
import { hasShared, note } from "../shared.js";
import { decode, encode, METHODS, type SmokeInput, type SmokeResult, smoke } from "./smoke.js";

/** Every runtime's input and what it must come to. */
export interface Answers {
  readonly input: SmokeInput;
  /** What the reference backend computes in this process. */
  readonly expected: SmokeResult;
  /** Masks by method and parts of the matrix as the original programs have them, with ../shared. */
  readonly golden: {
    readonly masks: Readonly<Record<string, string>>;
    readonly parts: Readonly<Record<string, string>>;
  };
}

function numbers(size: number, seed: number): Float32Array {
  const random = new Random(seed);
  return new Float32Array(size).map(() => 2 * random.next() - 1);
}

/** A layer and a 2:4 matrix that need no files. */
function madeUp(): Pick<SmokeInput, "layer" | "matrix"> {
  const [rows, cols] = [64, 128];
  // Of multiples of 128, which cuSPARSELt's layouts need.
  const matrix = { rows: 128, cols: 256 };
  const bits = Uint16Array.from({ length: matrix.rows * matrix.cols }, (_, i) =>
    i % 4 < 2 ? 0x3c00 + (i % 4096) : 0,
  );
  return {
    layer: {
      ...{ rows, cols, sequences: 2 },
      weight: encode(numbers(rows * cols, 1)),
      activations: encode(numbers(256 * cols, 2)),
    },
    matrix: { ...matrix, bytes: encode(bits) },
  };
}

/** The golden layer and a golden matrix with what the originals make of them. */
async function golden() {
  const { rows, cols, sequences, weight, activations, mask } = await goldenLayer("128x128");
  const masks: Record<string, string> = {};
  for (const method of METHODS) masks[method] = encode(await mask(`${method}24`));
  const file = await readShared("golden", "cutlass24.safetensors");
  const part = async (name: string) => encode(await file.read(`f16.128x256.full.${name}`));
  return {
    layer: {
      ...{ rows, cols, sequences },
      weight: encode(weight),
      activations: encode(activations),
    },
    matrix: { rows: 128, cols: 256, bytes: await part("dense") },
    masks,
    parts: {
      "cutlass: cutlass.values": await part("values"),
      "cutlass: cutlass.meta": await part("meta"),
    },
  };
}

/** Makes the input, the embedded model compressed to 2:4 among it, and computes the answers. */
export async function computeAnswers(): Promise<Answers> {
  const { masks, parts, ...given } = hasShared()
    ? await golden()
    : { ...madeUp(), masks: {}, parts: {} };
  const { files } = await compressFiles(storyFiles(), { method: "wanda", layout: "two-four" });
  const input: SmokeInput = {
    ...given,
    model: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, encode(bytes)])),
    prompt: "Once upon a time, there was a little",
    text: EVALUATION.slice(0, 170),
  };
  return { input, expected: await smoke(penjing, input, "reference"), golden: { masks, parts } };
}

function floats(text: string): Float32Array {
  return new Float32Array(decode(text).buffer);
}

/** Requires what a runtime computed to be what it must be, on wasm by so many threads. */
export function compare(actual: SmokeResult, answers: Answers, who: string, threads = 3): void {
  const { expected, golden } = answers;
  const what = `${who}, ${actual.backend}:`;
  for (const method of METHODS) {
    const { mask, weight, unpacked } = actual.pruned[method];
    assert.is(mask, expected.pruned[method].mask, `${what} mask of ${method}`);
    assert.is(mask, golden.masks[method] ?? mask, `${what} golden mask of ${method}`);
    assert.is(unpacked, weight, `${what} packed and unpacked weights of ${method}`);
    const wanted = floats(expected.pruned[method].weight);
    const worst = floats(weight).reduce((most, w, i) => Math.max(most, Math.abs(w - wanted[i])), 0);
    assert.ok(worst < 1e-4, `${what} weights of ${method} differ by ${worst}`);
  }
  if (actual.backend === "wasm") {
    const { areSame, how } = actual.threads!;
    assert.ok(areSame, `${what} one thread and more differ`);
    assert.match(how, threads === 1 ? /, 1 thread,/ : `, ${threads} threads,`, what);
    note(`${what} ${how}`);
  }
  assert.equal(actual.parts, expected.parts, `${what} packed parts`);
  for (const [name, part] of Object.entries(golden.parts)) {
    assert.is(actual.parts[name], part, `${what} golden ${name}`);
  }
  assert.equal(actual.ids, expected.ids, `${what} generated tokens`);
  const error = Math.abs(actual.perplexity / expected.perplexity - 1);
  assert.ok(error < 1e-3, `${what} perplexity ${actual.perplexity}, not ${expected.perplexity}`);
}
