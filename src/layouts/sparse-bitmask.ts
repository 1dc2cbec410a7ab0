/**
 * The layout `sparse-bitmask`, version 1, of compressed-tensors up to 0.14: a weight P.weight
 * [rows, cols] with zeros anywhere, in four tensors:
 *
 *   P.shape         I64 [2]                      rows, cols
 *   P.compressed    the weight's dtype [values]  the stored values, row by row
 *   P.bitmask       U8 [rows, ceil(cols/8)]      a bit for each column, set where a value is stored
 *   P.row_offsets   I64 [rows]                   the values stored before each row
 *
 *   byte 0 of bitmask    bit   7  6  5  4  3  2  1  0
 *                     column   7  6  5  4  3  2  1  0
 *
 * Bits beyond the last column are 0. Non-zeros alone are stored here; files of others may store zeros
 * too. The shape and the number of values stand in the file's metadata too. config.json has a
 * quantization_config with sparsity_config.format "sparse-bitmask". A legacy layout: the programs that
 * read it dropped it in 2026.
 */
import { PenjingError } from "../errors.js";
import type { Layout, TensorEntry, WeightFacts } from "../layout.js";
import { zeroTest } from "../pack.js";
import { sizeOf } from "../tensor.js";
import {
  BITMASK,
  BITMASK_WARNING,
  bitmaskRefusal,
  COMPRESSED,
  checkPaddingBits,
  expectInt64,
  int64,
  moduleOf,
  quantizationConfig,
  ROW_OFFSETS,
  SHAPE,
  weightOfModule,
} from "./parts/bitmask.js";
import { bitsOf, elementBytes, partBytes } from "./parts/elements.js";
import { findWeights } from "./parts/stored.js";
import { refuse } from "./parts/two-of-four.js";

const NAME = "sparse-bitmask";

type Facts = ReadonlyMap<string, WeightFacts>;

function refusal(weight: TensorEntry): string | undefined {
  return bitmaskRefusal(weight, NAME);
}

function entries(facts: Facts, weight: TensorEntry): TensorEntry[] {
  const { name, dtype, shape } = weight;
  const values = facts.get(name)?.values;
  if (values === undefined) {
    throw new PenjingError(
      name,
      `how many values ${NAME} stores of it is not known; give it with withFacts first.`,
    );
  }
  const [rows, cols] = shape;
  const module = moduleOf(weight);
  return [
    { name: module + COMPRESSED, dtype, shape: [values] },
    { name: module + BITMASK, dtype: "U8", shape: [rows, Math.ceil(cols / 8)] },
    { name: module + ROW_OFFSETS, dtype: "I64", shape: [rows] },
    { name: module + SHAPE, dtype: "I64", shape: [2] },
  ];
}

function pack(facts: Facts, weight: TensorEntry, bytes: Uint8Array): Map<string, Uint8Array> {
  refuse(weight, refusal(weight));
  const all = entries(facts, weight);
  const [values] = all[0].shape;
  const [rows, cols] = weight.shape;
  const bits = bitsOf(weight, bytes);
  const isZero = zeroTest(bits);
  const found = countNonZeros(weight, bytes);
  if (found !== values) {
    throw new PenjingError(
      weight.name,
      `it has ${found} non-zeros of ${bits.length}, which cannot be stored as ${values} values; measure it again.`,
    );
  }
  const compressed = new Uint8Array(values * elementBytes(weight));
  const stored = bitsOf(all[0], compressed);
  const width = Math.ceil(cols / 8);
  const bitmask = new Uint8Array(rows * width);
  const offsets: number[] = [];
  let count = 0;
  for (let row = 0; row < rows; row++) {
    offsets.push(count);
    for (let col = 0; col < cols; col++) {
      const i = row * cols + col;
      if (isZero(i)) continue;
      bitmask[row * width + (col >> 3)] |= 1 << (col & 7);
      stored[count++] = bits[i];
    }
  }
  const parts = [compressed, bitmask, int64(offsets), int64(weight.shape)];
  return new Map(all.map(({ name }, i) => [name, parts[i]]));
}

function unpack(
  facts: Facts,
  weight: TensorEntry,
  parts: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  refuse(weight, refusal(weight));
  const all = entries(facts, weight);
  const [compressed, bitmask, rowOffsets, shape] = partBytes(weight, all, parts);
  const [rows, cols] = weight.shape;
  expectInt64(all[3], shape, weight.shape);
  checkPaddingBits(all[1], bitmask, rows, cols);
  const stored = bitsOf(all[0], compressed);
  const bytes = new Uint8Array(rows * cols * elementBytes(weight));
  const bits = bitsOf(weight, bytes);
  const width = Math.ceil(cols / 8);
  const offsets: number[] = [];
  let count = 0;
  for (let row = 0; row < rows; row++) {
    offsets.push(count);
    for (let col = 0; col < cols; col++) {
      if (((bitmask[row * width + (col >> 3)] >> (col & 7)) & 1) === 0) continue;
      bits[row * cols + col] = stored[count++];
    }
  }
  if (count !== stored.length) {
    throw new PenjingError(
      all[1].name,
      `it has ${count} bits set, but ${stored.length} values are stored; the file is damaged.`,
    );
  }
  expectInt64(all[2], rowOffsets, offsets);
  return bytes;
}

function countNonZeros(weight: TensorEntry, bytes: Uint8Array): number {
  const bits = bitsOf(weight, bytes);
  const isZero = zeroTest(bits);
  let count = 0;
  for (let i = 0; i < bits.length; i++) if (!isZero(i)) count++;
  return count;
}

/** Share of zeros among the weights whose facts are known, to three digits. */
function sparsityOf(facts: Facts): number {
  const all = [...facts.values()];
  const size = all.reduce((sum, { shape }) => sum + sizeOf(shape ?? []), 0);
  const values = all.reduce((sum, fact) => sum + (fact.values ?? 0), 0);
  return size > 0 ? Number((1 - values / size).toFixed(3)) : 0;
}

function makeLayout(facts: Facts): Layout {
  const entriesOf = (weight: TensorEntry) => entries(facts, weight);
  return {
    name: NAME,
    version: 1,
    holds: "any",
    byRows: false,
    warning: BITMASK_WARNING,
    configKeys: (left) => quantizationConfig(NAME, "unstructured", sparsityOf(facts), left),
    withFacts: makeLayout,
    measure: (weight, bytes) => ({
      shape: [weight.shape[0], weight.shape[1]],
      values: countNonZeros(weight, bytes),
    }),
    facts: ({ name }) => facts.get(name),
    refusal,
    entries: entriesOf,
    pack: (weight, bytes) => pack(facts, weight, bytes),
    weights: (stored) =>
      findWeights(stored, {
        lead: COMPRESSED,
        meaning: "the values of a weight that the file's metadata describes",
        others: [BITMASK, ROW_OFFSETS, SHAPE],
        entries: entriesOf,
        weightOf({ dtype }, module) {
          const name = weightOfModule(module);
          const { shape, values } = facts.get(name) ?? {};
          const weight = shape && values !== undefined && { name, dtype, shape };
          return weight && !refusal(weight) ? weight : undefined;
        },
      }),
    unpack: (weight, parts) => unpack(facts, weight, parts),
  };
}

export const sparseBitmask = makeLayout(new Map());
