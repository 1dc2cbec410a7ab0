/**
 * Importance matrices as llama.cpp has them in GGUF files: of each linear, under the name that its weight has
 * there, the sums of squares of its inputs, and how many tokens they are sums over.
 *
 *   imatrix.datasets [texts], imatrix.chunk_count u32, imatrix.chunk_size u32
 *   NAME.in_sum2 F32 [inFeatures], or [experts, inFeatures]
 *   NAME.counts  F32 [1], or [experts, 1]
 *
 * Format: https://github.com/ggml-org/llama.cpp/tree/master/tools/imatrix
 */
import { PenjingError } from "../../errors.js";
import type { ByteSource } from "../../platform/files.js";
import { quote } from "../../quote.js";
import { type GgufTensor, readGgufHeader } from "./header.js";
import { Keys } from "./keys.js";
import type { GgufEntry } from "./write/header.js";
import type { KeyValues } from "./write/values.js";

const KIND = "imatrix";
const DATASETS = "imatrix.datasets";
const CHUNK_COUNT = "imatrix.chunk_count";
const CHUNK_SIZE = "imatrix.chunk_size";
const SUMS = ".in_sum2";
const COUNTS = ".counts";

/** What a matrix was gathered from. */
export interface ImportanceText {
  /** Names of the texts; llama.cpp's quantizer expects one at least. */
  readonly datasets: readonly string[];
  /** Windows, and tokens in each. */
  readonly chunks: number;
  readonly length: number;
}

/** The keys of a file. */
export function importanceKeys({ datasets, chunks, length }: ImportanceText): KeyValues {
  return {
    "general.type": ["STRING", KIND],
    [DATASETS]: ["STRING", datasets],
    [CHUNK_COUNT]: ["U32", chunks],
    [CHUNK_SIZE]: ["U32", length],
  };
}

/** The tensors of a linear: its sums, then its count. */
export function importanceEntries(weight: string, inFeatures: number): [GgufEntry, GgufEntry] {
  return [
    { name: `${weight}${SUMS}`, type: "F32", shape: [inFeatures] },
    { name: `${weight}${COUNTS}`, type: "F32", shape: [1] },
  ];
}

/** What a file says. */
export interface Importance {
  /** Of the file. */
  readonly name: string;
  readonly datasets: readonly string[];
  /** Windows of text; 0 where it is not said. */
  readonly chunks: number;
  /**
   * Mean squares of the inputs by the names of weights, as in "blk.0.attn_q.weight"; of several experts one
   * after another. What saw no token has ones, as in llama.cpp.
   */
  readonly means: ReadonlyMap<string, Float32Array>;
}

/**
 * Reads an importance matrix.
 *
 * @throws PenjingError for what is none or is damaged, and for the form that is older than GGUF
 */
export async function readImportance(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<Importance> {
  await refuseOlder(source);
  const header = await readGgufHeader(source, signal);
  const keys = new Keys(source.name, header.keys);
  const kind = keys.text("general.type");
  if (kind !== KIND) {
    throw new PenjingError(
      source.name,
      `it is ${kind === undefined ? "of no kind" : `of the kind ${quote(kind)}`} and no importance matrix; give a file that \`penjing imatrix\` or llama-imatrix wrote.`,
    );
  }
  const means = new Map<string, Float32Array>();
  for (const [weight, { sums, counts }] of pairs(source.name, header.tensors)) {
    signal?.throwIfAborted();
    const [all, tokens] = [await readValues(source, sums), await readValues(source, counts)];
    if (all.length === 0 || all.length % tokens.length !== 0) {
      throw damaged(source.name, weight, `has ${all.length} sums for ${tokens.length} counts`);
    }
    const cols = all.length / tokens.length;
    means.set(
      weight,
      all.map((sum, i) => {
        const count = tokens[Math.floor(i / cols)];
        return count > 0 ? sum / count : 1;
      }),
    );
  }
  if (means.size === 0) {
    throw new PenjingError(
      source.name,
      "it has no entry of any linear; take a file whose run came to its end.",
    );
  }
  const datasets = keys.list(DATASETS)?.texts() ?? [];
  return { name: source.name, datasets, chunks: keys.whole(CHUNK_COUNT) ?? 0, means };
}

/** Refuses what is no GGUF file, such as the older form, which has no mark of its own. */
async function refuseOlder(source: ByteSource): Promise<void> {
  if (source.size === 0) {
    throw new PenjingError(source.name, "the file is empty; make it again.");
  }
  const start = await source.read(0, Math.min(4, source.size));
  if (String.fromCharCode(...start) === "GGUF") return;
  throw new PenjingError(
    source.name,
    'it does not begin with "GGUF": importance matrices are read in that form alone, and not in the older one of .dat files; make one of it with llama-imatrix --in-file OLD.dat -o NEW.gguf.',
  );
}

function damaged(file: string, weight: string, what: string): PenjingError {
  return new PenjingError(file, `${quote(weight)} ${what}; the file is damaged: make it again.`);
}

interface Pair {
  readonly sums: GgufTensor;
  readonly counts: GgufTensor;
}

/** The tensors of each linear, by its name; others are passed over, as in llama.cpp. */
function pairs(file: string, tensors: readonly GgufTensor[]): Map<string, Pair> {
  const found = new Map<string, Partial<Pair>>();
  for (const tensor of tensors) {
    const [, weight, ending] = /^(.*)(\.in_sum2|\.counts)$/.exec(tensor.name) ?? [];
    if (weight === undefined) continue;
    if (tensor.type.name !== "F32") {
      throw damaged(file, tensor.name, `is of ${tensor.type.name}, must be F32`);
    }
    const side = ending === SUMS ? { sums: tensor } : { counts: tensor };
    found.set(weight, { ...found.get(weight), ...side });
  }
  for (const [weight, { sums, counts }] of found) {
    if (!sums || !counts) throw damaged(file, weight, `has no ${sums ? COUNTS : SUMS}`);
  }
  return found as Map<string, Pair>;
}

async function readValues(source: ByteSource, tensor: GgufTensor): Promise<Float32Array> {
  const bytes = await source.read(tensor.offset, tensor.byteLength);
  const values = new Float32Array(bytes.buffer);
  const bad = values.find((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
  if (bad === undefined) return values;
  throw damaged(source.name, tensor.name, `holds ${bad}, must be finite numbers of at least 0`);
}
