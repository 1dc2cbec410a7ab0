import type { Backend, Weight } from "../../../src/backend.js";
import { openReference } from "../../../src/backends/reference.js";
import type { Leaf, Numbers } from "../../../src/form.js";
import type { Activations } from "../../../src/forms/integer.js";
import { denseLeaf } from "../../../src/forms/leaf.js";
import { Random } from "../../../src/random.js";
import { checkCodes, checkHalves } from "../../webgpu/codes.js";
import type { Figure } from "../figures.js";
import { type Clock, deviceSeconds } from "./clock.js";
import { numbers } from "./products.js";

const random = new Random(25);

/** Columns that share a scale. */
const GROUP = 32;

/** How a matrix is held. */
type Kind = "f32" | "f16" | `int${8 | 4} by floats` | `int${8 | 4} by int8`;

const KINDS: readonly Kind[] = [
  "f32",
  "f16",
  "int8 by floats",
  "int4 by floats",
  "int8 by int8",
  "int4 by int8",
];

/** A random matrix of one kind several times, each in memory of its own. */
async function makeWeights(
  backend: Backend,
  kind: Kind,
  [rows, cols]: readonly [number, number],
  bytes: number,
): Promise<Weight[]> {
  const size = rows * cols;
  if (kind === "f32") {
    const data = numbers(size);
    const copies = Math.max(1, Math.ceil(bytes / (4 * size)));
    return Array.from({ length: copies }, () => backend.upload(data, [rows, cols]));
  }
  let leaf: Leaf;
  let activations: Activations = "float";
  if (kind === "f16") {
    const below = (count: number) => Math.floor(count * random.next());
    // Of either sign, from 2^-7 to 1.
    const halves = Uint16Array.from(
      { length: size },
      () => (below(2) << 15) | ((8 + below(7)) << 10) | below(1024),
    );
    leaf = denseLeaf(backend.upload(halves, [rows, cols]), [rows, cols], "f16");
  } else {
    const bits = kind.startsWith("int8") ? 8 : 4;
    const grid: Numbers = { kind: "grid", bits, symmetric: true, groupSize: GROUP };
    const codes = Uint8Array.from({ length: size }, () => random.next() * 2 ** bits);
    const groups = Math.ceil(cols / GROUP);
    const parts = new Map([
      ["values", backend.upload(codes, [rows, cols])],
      ["scales", backend.upload(numbers(rows * groups), [rows, groups])],
    ]);
    const structure = { kind: "dense" } as const;
    leaf = { kind: "leaf", shape: [rows, cols], structure, numbers: grid, parts };
    if (kind.endsWith("by int8")) activations = "int8";
  }
  const made: Weight[] = [];
  let held = 0;
  while (held < bytes || made.length === 0) {
    const matrix = await backend.ops.prepare(leaf, { activations });
    held += matrix.bytes;
    made.push(matrix);
  }
  for (const part of leaf.parts.values()) part.dispose();
  return made;
}

export interface CodesPlan {
  /** Rows and columns. */
  readonly shapes: readonly (readonly [number, number])[];
  /** Of a prompt. */
  readonly tokens: number;
  /** Bytes of each kind of weights that products go through before the same come again. */
  readonly weightBytes: number;
  readonly clock: Clock;
}

/** Products of one token and of a prompt with codes, beside those with f32 and f16. */
export async function codes(
  backend: Backend,
  { shapes, tokens: prompt, weightBytes, clock }: CodesPlan,
  show: (figures: readonly Figure[]) => void,
): Promise<void> {
  for (const shape of shapes) {
    const [rows, cols] = shape;
    const weights = new Map<Kind, Weight[]>();
    for (const kind of KINDS) {
      weights.set(kind, await makeWeights(backend, kind, shape, weightBytes));
    }
    for (const tokens of [1, prompt]) {
      const x = backend.upload(numbers(tokens * cols), [tokens, cols]);
      const out = backend.zeros([tokens, rows]);
      const cases = KINDS.map((kind) => {
        const all = weights.get(kind)!;
        let next = 0;
        return [kind, () => backend.ops.multiply(x, all[next++ % all.length], out)] as const;
      });
      const seconds = await deviceSeconds(backend, Object.fromEntries(cases), clock);
      const what = tokens === 1 ? "GEMV" : `${tokens} tokens`;
      for (const kind of KINDS) {
        const name = `${what} [${rows}, ${cols}], ${kind}`;
        const time = { name, value: 1e6 * seconds[kind], unit: "us" };
        show([{ ...time, ratio: seconds[kind] / seconds.f32, against: "the f32 time" }]);
        if (kind === "f32") continue;
        const [first] = weights.get(kind)!;
        const bytes = "bytes" in first ? first.bytes : 4 * rows * cols;
        const rate =
          tokens === 1
            ? { value: bytes / seconds[kind] / 1e9, unit: "GB/s" }
            : { value: (2 * tokens * rows * cols) / seconds[kind] / 1e12, unit: "TFLOP/s" };
        show([{ name, ...rate, ratio: seconds[kind] / seconds.f16, against: "the f16 time" }]);
      }
      for (const tensor of [x, out]) tensor.dispose();
    }
    for (const matrix of [...weights.values()].flat()) matrix.dispose();
  }
}

/** Says whether products with codes have the reference's bits on this adapter. */
export async function judgeCodes(backend: Backend): Promise<void> {
  const reference = await openReference();
  const next = () => random.next();
  for (const { what, wrong, worst } of await checkCodes(backend, reference, next)) {
    const bits = wrong === 0 ? "the reference's bits" : `${wrong} elements of other bits`;
    console.log(`${what}: by int8 ${bits}, by floats ${worst.toFixed(3)} of the bound`);
  }
  const { tokens, wrong } = await checkHalves(backend, reference, next);
  console.log(`halves of ${tokens} tokens: ${wrong} rounded otherwise than by the reference`);
  reference.dispose();
}
