import * as assert from "uvu/assert";
import * as penjing from "../../src/index.js";
import { Random } from "../../src/random.js";
import { VERSION } from "../../src/version.js";
import { compressFiles, EVALUATION, storyFiles } from "../compress/stories.js";
import { note } from "../shared.js";
import { decode, encode, METHODS, type SmokeInput, type SmokeResult, smoke } from "./smoke.js";

/** Every runtime's input and what it must come to. */
export interface Answers {
  readonly input: SmokeInput;
  /** What the reference backend computes in this process: other suites hold it to the originals. */
  readonly expected: SmokeResult;
}

function numbers(size: number, seed: number): Float32Array {
  const random = new Random(seed);
  return new Float32Array(size).map(() => 2 * random.next() - 1);
}

/** Which two of four columns hold a value. */
const PAIRS = [
  [0, 1],
  [2, 3],
  [0, 2],
  [1, 3],
  [0, 3],
  [1, 2],
  [0, 1],
];

/** A layer and a 2:4 matrix of multiples of 128, which cuSPARSELt's layouts need. */
function madeUp(): Pick<SmokeInput, "layer" | "matrix"> {
  const [rows, cols] = [128, 128];
  const matrix = { rows: 128, cols: 256 };
  const bits = Uint16Array.from({ length: matrix.rows * matrix.cols }, (_, i) => {
    const pair = PAIRS[(i >> 2) % PAIRS.length];
    return pair.includes(i % 4) ? 0x3c00 + (i % 4096) : 0;
  });
  return {
    layer: {
      ...{ rows, cols, sequences: 2 },
      weight: encode(numbers(rows * cols, 1)),
      activations: encode(numbers(256 * cols, 2)),
    },
    matrix: { ...matrix, bytes: encode(bits) },
  };
}

/** Makes the input, the embedded model compressed to 2:4 among it, and computes the answers. */
export async function computeAnswers(): Promise<Answers> {
  const { files } = await compressFiles(storyFiles(), { method: "wanda", layout: "two-four" });
  const input: SmokeInput = {
    ...madeUp(),
    model: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, encode(bytes)])),
    prompt: "Once upon a time, there was a little",
    text: EVALUATION.slice(0, 170),
  };
  return { input, expected: await smoke(penjing, input, "reference") };
}

function floats(text: string): Float32Array {
  return new Float32Array(decode(text).buffer);
}

/** Requires that `doctor` told what each runtime can tell, and left out what it cannot. */
function checkDiagnosis({ diagnosis }: SmokeResult, what: string, threads: number): void {
  const { penjing, isFit, simd, speed, processor, memory, hub, disk, cache } = diagnosis!;
  assert.is(penjing, VERSION, what);
  assert.is(isFit, true, what);
  assert.is(simd.sharedMemory, threads > 1, what);
  assert.is(processor.threads > 1, threads > 1 && processor.cores! > 1, what);
  assert.is(memory.wasmLimit, 4_294_901_760, what);
  assert.is(hub.answers, undefined, what);
  assert.ok(diagnosis!.webgpu.adapter ?? diagnosis!.webgpu.reason, what);
  // What has no disk tells of no memory either.
  const hasDisk = /^(Node|Deno|Bun)/.test(diagnosis!.runtime.name);
  assert.is(disk !== undefined && cache !== undefined, hasDisk, what);
  assert.is(memory.whole !== undefined && memory.free !== undefined, hasDisk, what);
  assert.is(diagnosis!.packages?.installed.webgpu, hasDisk ? true : undefined, what);
  // Where Cloudflare runs workerd, the clock stands still while something is computed.
  const isClocked = diagnosis!.runtime.name !== "Cloudflare-Workers";
  assert.ok(isClocked ? speed!.flops > 1e8 : (speed?.flops ?? 1e9) > 1e8, what);
}

/** Requires what a runtime computed to be what it must be, on wasm by so many threads. */
export function compare(actual: SmokeResult, answers: Answers, who: string, threads = 3): void {
  const { expected } = answers;
  const what = `${who}, ${actual.backend}:`;
  for (const method of METHODS) {
    const { mask, weight, unpacked } = actual.pruned[method];
    assert.is(mask, expected.pruned[method].mask, `${what} mask of ${method}`);
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
    checkDiagnosis(actual, what, threads);
  }
  assert.is(actual.planned, expected.planned, `${what} planned bytes`);
  assert.equal(actual.parts, expected.parts, `${what} packed parts`);
  assert.equal(actual.ids, expected.ids, `${what} generated tokens`);
  const error = Math.abs(actual.perplexity / expected.perplexity - 1);
  assert.ok(error < 1e-3, `${what} perplexity ${actual.perplexity}, not ${expected.perplexity}`);
}
