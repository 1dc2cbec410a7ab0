/**
 * GPTQ checkpoints, as AutoGPTQ and GPTQModel write them: of a layer P [R, C] of b bits and K groups
 *
 *   P.qweight   I32 [C b / 32, R]   the codes of each output, packed down the inputs, low bits first
 *   P.qzeros    I32 [K, R b / 32]   zero points packed along the outputs; format "gptq" (v1) holds z - 1
 *   P.scales    F16 [K, R]
 *   P.g_idx     I32 [C]             the group of each input; floor(c / group size) but for act-order
 */
import type { ConfigReader } from "../../config-reader.js";
import type { MatrixShape } from "../../form.js";
import { quote } from "../../quote.js";
import { aligned } from "../../tensor.js";
import { DTYPE_BYTES } from "../dtype.js";
import type { CheckpointTensor } from "../opened.js";
import {
  type GridWeight,
  gridWeight,
  type MadeTensor,
  type Parts,
  packMatrix,
  type QuantizedWeights,
  transpose,
  unpackMatrix,
  unread,
} from "./grid-weight.js";

const QWEIGHT = ".qweight";
/** Of 5, 6 and 7 bits codes are stored in planes. */
const BITS: readonly number[] = [2, 3, 4, 8];
const FORMATS: readonly string[] = ["gptq", "gptq_v2"];

interface Settings {
  readonly bits: number;
  /** Columns that share a scale; undefined for the whole row. */
  readonly groupSize: number | undefined;
  readonly symmetric: boolean;
  /** Whether zero points are stored less 1. */
  readonly isV1: boolean;
  /** Whether groups may be of inputs that are no neighbours. */
  readonly isOrdered: boolean;
  /** Whether layers may have bits and groups of their own. */
  readonly isMixed: boolean;
}

function settingsOf(config: ConfigReader): Settings {
  const { where } = config;
  const bits = config.count("bits");
  const format = config.text("checkpoint_format", "gptq");
  if (!FORMATS.includes(format) || config.flag("is_marlin_format", false)) {
    unread(where, `by gptq in the format ${FORMATS.includes(format) ? "marlin" : quote(format)}`);
  }
  const words = config.text("pack_dtype", "int32");
  if (words !== "int32") unread(where, `by gptq in words of ${quote(words)}`);
  if (!BITS.includes(bits)) unread(where, `by gptq to ${bits} bits`);
  const size = config.raw("group_size") === -1 ? undefined : config.count("group_size");
  return {
    ...{ bits, groupSize: size, isV1: format === "gptq" },
    symmetric: config.flag("sym", true),
    isOrdered: config.flag("desc_act", false),
    isMixed: (config.nested("dynamic")?.keys().length ?? 0) > 0,
  };
}

/** @param config its quantization_config */
export async function readGptq(parts: Parts, config: ConfigReader): Promise<QuantizedWeights> {
  const settings = settingsOf(config);
  const modules = parts.modules(QWEIGHT);
  const weights: GridWeight[] = [];
  for (const module of modules) weights.push(await readModule(parts, module, settings));
  const notes: string[] = [];
  if (settings.symmetric && modules.length > 0) {
    const zeros = await storedZeros(parts, weights[0], modules[0]);
    const other = zeros && versionNote(zeros, weights[0], settings);
    if (other) notes.push(other);
  }
  const ordered = weights.filter(({ groups }) => groups).length;
  if (ordered > 0) {
    notes.push(
      `${ordered} of its ${modules.length} quantized weights have groups of scattered inputs (act-order); these are decoded to floats`,
    );
  }
  return { weights, unused: [], notes, layout: "grouped-int" };
}

async function readModule(parts: Parts, module: string, given: Settings): Promise<GridWeight> {
  const names = [QWEIGHT, ".scales", ".qzeros", ".g_idx"].map((ending) => module + ending);
  const [qweight, scaleName, zeroName, orderName] = names;
  const packed = parts.need(qweight, module);
  const order = parts.get(orderName);
  const { bits, shape } = sizesOf(parts, packed, order, given);
  const [rows, cols] = shape;
  const scales = parts.need(scaleName, qweight);
  const [groups = 0] = scales.shape;
  const groupSize = given.isMixed ? sharedBy(cols, groups) : given.groupSize;
  const expected = groupSize === undefined ? 1 : Math.ceil(cols / groupSize);
  parts.expect(scaleName, qweight, ["F16", "BF16", "F32"], [expected, rows]);
  const zeroShape = [expected, (rows * bits) / 32];
  if (!given.symmetric) parts.expect(zeroName, qweight, ["I32"], zeroShape);
  const places = order && given.isOrdered ? await groupsOf(parts, order, expected) : undefined;
  const isScattered = places?.some((group, at) => group !== Math.floor(at / (groupSize ?? cols)));
  const numbers = { kind: "grid", bits, groupSize, symmetric: given.symmetric } as const;
  const values: MadeTensor = {
    ...{ dtype: "I32", shape: [rows, Math.ceil((cols * bits) / 32)], from: [qweight] },
    async make() {
      // Groups of neighbours were promised; others would give other values.
      if (order && !given.isOrdered) await refuseScattered(parts, order, groupSize ?? cols);
      const turned: MatrixShape = [cols, rows];
      const codes = unpackMatrix(bits, turned, "columns", await parts.read(qweight), qweight);
      return packMatrix(bits, shape, "rows", transpose(codes, turned, 1));
    },
  };
  const grid = {
    values,
    scales: turnedScales(parts, scales),
    ...(!given.symmetric && { zeros: packedZeros(parts, zeroName, shape, expected, bits, given) }),
  };
  return gridWeight(module, shape, numbers, grid, {
    uses: names.filter((name) => parts.get(name)),
    type: `gptq int${bits}`,
    groups: isScattered ? places : undefined,
  });
}

/** Bits and shape of a layer. */
function sizesOf(
  parts: Parts,
  { name, dtype, shape: [height = 0, rows = 0, ...more] }: CheckpointTensor,
  order: CheckpointTensor | undefined,
  { bits: usual, isMixed }: Settings,
): { readonly bits: number; readonly shape: MatrixShape } {
  const cols = order?.shape[0] ?? (height * 32) / usual;
  const bits = (height * 32) / cols;
  if (dtype !== "I32" || more.length > 0 || !BITS.includes(bits) || rows % 32 !== 0) {
    const told = order ? ` of ${cols} inputs, as ${order.name} says` : "";
    parts.damaged(
      name,
      `${dtype} [${[height, rows, ...more]}] cannot be codes of ${usual} bits${told}`,
    );
  }
  if (bits !== usual && !isMixed) {
    parts.damaged(name, `its codes have ${bits} bits, but config.json says ${usual}`);
  }
  return { bits, shape: [rows, cols] };
}

/** Columns that share one of so many scales. */
function sharedBy(cols: number, groups: number): number | undefined {
  return groups <= 1 ? undefined : Math.ceil(cols / groups);
}

/** Scales [K, R] as [R, K]. */
function turnedScales(parts: Parts, { name, dtype, shape }: CheckpointTensor): MadeTensor {
  const [groups, rows] = shape;
  const width = DTYPE_BYTES[dtype] as 2 | 4;
  return {
    ...{ dtype, shape: [rows, groups], from: [name] },
    make: async () => transpose(await parts.read(name), [groups, rows], width),
  };
}

/** Zero points [K, R] along the rows as [R, K] down them. */
function packedZeros(
  parts: Parts,
  name: string,
  [rows]: MatrixShape,
  groups: number,
  bits: number,
  { isV1 }: Settings,
): MadeTensor {
  return {
    ...{ dtype: "I32", shape: [Math.ceil((rows * bits) / 32), groups], from: [name] },
    async make() {
      const stored = unpackMatrix(bits, [groups, rows], "rows", await parts.read(name), name);
      // Of v1, z = 0 is stored as the largest code.
      const zeros = isV1 ? stored.map((code) => (code + 1) % 2 ** bits) : stored;
      return packMatrix(bits, [rows, groups], "columns", transpose(zeros, [groups, rows], 1));
    },
  };
}

/** The group of each input. */
async function groupsOf(
  parts: Parts,
  { name, dtype, shape }: CheckpointTensor,
  groups: number,
): Promise<Int32Array> {
  if (dtype !== "I32" || shape.length !== 1) {
    parts.damaged(name, `${dtype} [${shape}] cannot be the groups of inputs`);
  }
  const { buffer, byteOffset } = aligned(await parts.read(name), 4);
  const places = new Int32Array(buffer, byteOffset, shape[0]);
  const bad = places.find((group) => group < 0 || group >= groups);
  if (bad !== undefined) parts.damaged(name, `it names the group ${bad} of ${groups}`);
  return places;
}

async function refuseScattered(parts: Parts, order: CheckpointTensor, size: number): Promise<void> {
  const places = await groupsOf(parts, order, Math.ceil(order.shape[0] / size));
  const at = places.findIndex((group, i) => group !== Math.floor(i / size));
  if (at >= 0) {
    parts.damaged(
      order.name,
      `input ${at} is of group ${places[at]}, but desc_act in config.json is false; set it to true`,
    );
  }
}

/** The zero points of the first layer as they are stored; undefined where it has none of its size. */
async function storedZeros(
  parts: Parts,
  { form }: GridWeight,
  module: string,
): Promise<Uint8Array | undefined> {
  const name = `${module}.qzeros`;
  const { numbers, shape } = form;
  const [rows, cols] = shape;
  const { bits, groupSize = cols } = numbers.kind === "grid" ? numbers : { bits: 8 };
  const groups = Math.ceil(cols / groupSize);
  const entry = parts.get(name);
  const isWhole =
    entry?.dtype === "I32" && String(entry.shape) === String([groups, (rows * bits) / 32]);
  if (!isWhole) return undefined;
  return unpackMatrix(bits, [groups, rows], "rows", await parts.read(name), name);
}

/** What is to be said of zero points that a symmetric grid does not read. */
function versionNote(
  zeros: Uint8Array,
  { form: { numbers } }: GridWeight,
  { isV1 }: Settings,
): string | undefined {
  const middle = 2 ** ((numbers.kind === "grid" ? numbers.bits : 8) - 1);
  const [own, other] = isV1 ? [middle - 1, middle] : [middle, middle - 1];
  if (!zeros.every((code) => code === other) || own === other) return undefined;
  const [said, meant] = isV1 ? ["gptq", "gptq_v2"] : ["gptq_v2", "gptq"];
  return `config.json says checkpoint_format ${said}, but the zero points are stored as ${meant} has them; they are read so`;
}
