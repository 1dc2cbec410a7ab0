import type { Backend } from "../backend.js";
import { toFloat32 } from "../checkpoint/dtype.js";
import { PenjingError } from "../errors.js";
import type { Leaf } from "../form.js";
import { decodeLeaf, describe, leafDamage, partRules } from "../forms/leaf.js";
import { readCodes, SHAPE_PART, shapeBytes } from "../forms/packed-grid.js";
import type { PartRule } from "../forms/rules.js";
import { pacer } from "../run.js";
import type { StoredDType, Tensor, TensorData } from "../tensor.js";
import type { RowTable } from "./decoder.js";
import { PIECE_BYTES, readWeight, type StoredModel } from "./stored.js";
import { nonFinite } from "./weights.js";

/** The codes of a table as they are stored. */
interface Codes {
  readonly rule: PartRule;
  readonly dtype: StoredDType;
  readonly bytes: Uint8Array;
}

/**
 * An embedding on a grid. It stays in memory as it is stored, and the rows that are looked up are
 * decoded there.
 *
 * @param name of the weight
 * @throws PenjingError when its parts are damaged; the signal's reason when it was aborted
 */
export async function openGridRows(
  model: StoredModel,
  backend: Backend,
  name: string,
  leaf: Leaf<string>,
  signal: AbortSignal | undefined,
): Promise<GridRows> {
  const where = model.checkpoint.folder.path;
  const refuse = (damage: string): never => {
    const cure = "the checkpoint is damaged, compress the model again.";
    throw new PenjingError(where, `${name}: ${damage}; ${cure}`);
  };
  const told = leaf.parts.get(SHAPE_PART);
  if (told !== undefined) {
    const found = await readWeight(model, told);
    const isIts = shapeBytes(leaf.shape).every((byte, i) => byte === found[i]);
    if (!isIts) refuse(`${told} tells another shape than [${leaf.shape}]`);
  }
  let values: Codes | undefined;
  const parts = new Map<string, TensorData>();
  for (const rule of partRules(leaf)) {
    const tensor = leaf.parts.get(rule.name)!;
    const { dtype } = model.weights.get(tensor)!;
    const bytes = await readWeight(model, tensor);
    if (rule.name === "values") values = { rule, dtype, bytes };
    else if (rule.dtype === "u8") {
      const codes = readCodes(leaf, rule, dtype, bytes);
      parts.set(rule.name, codes ?? refuse(`${tensor} has bits set after its last code`));
    } else {
      const scales = toFloat32({ name: tensor, dtype }, bytes);
      const bad = scales.filter((value) => !Number.isFinite(value)).length;
      if (bad > 0) throw nonFinite(where, tensor, bad);
      parts.set(rule.name, scales);
    }
  }
  const table = new GridRows(backend, leaf, values!, parts);
  await table.check(refuse, pacer(signal));
  return table;
}

export class GridRows implements RowTable {
  readonly rows: number;
  readonly cols: number;
  readonly bytes: number;
  readonly held: string;
  /** Bytes of a row's codes. */
  private readonly rowBytes: number;

  constructor(
    private readonly backend: Backend,
    private readonly leaf: Leaf<string>,
    private readonly values: Codes,
    /** Scales, and zero points and a table or a code book where there are any. */
    private readonly parts: ReadonlyMap<string, TensorData>,
  ) {
    [this.rows, this.cols] = leaf.shape;
    this.rowBytes = values.bytes.length / Math.max(1, this.rows);
    const rest = [...parts.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.bytes = values.bytes.length + rest;
    this.held = describe(leaf);
  }

  /** Some rows as a table of their own; undefined where bits are set after a row's last code. */
  private some(first: number, count: number): Leaf<TensorData> | undefined {
    const { leaf, values, parts, rowBytes } = this;
    const part = { ...leaf, shape: [count, this.cols] as const };
    const bytes = values.bytes.subarray(first * rowBytes, (first + count) * rowBytes);
    const rule = { ...values.rule, shape: [count, values.rule.shape[1]] };
    const codes = readCodes(part, rule, values.dtype, bytes);
    if (!codes) return undefined;
    const own = new Map<string, TensorData>([["values", codes]]);
    for (const [name, data] of parts) {
      // One table or code book is of all rows.
      if (name === "table" || name === "codebook") {
        own.set(name, data);
        continue;
      }
      const width = data.length / this.rows;
      own.set(name, data.subarray(first * width, (first + count) * width));
    }
    return { ...part, parts: own };
  }

  /** Looks at all codes once. */
  async check(refuse: (damage: string) => never, rest: () => Promise<void>): Promise<void> {
    const step = Math.max(1, Math.floor(PIECE_BYTES / this.rowBytes));
    for (let first = 0; first < this.rows; first += step) {
      await rest();
      const part = this.some(first, Math.min(step, this.rows - first));
      const damage = part ? leafDamage(part) : "it has bits set after its last code";
      if (damage) refuse(damage);
    }
  }

  /** The values of some rows, row-major. */
  decode(first: number, count: number): Float32Array {
    return decodeLeaf(this.some(first, count)!);
  }

  lookUp(ids: Int32Array, out: Tensor): void {
    const found = new Float32Array(ids.length * this.cols);
    for (const [at, id] of ids.entries()) found.set(this.decode(id, 1), at * this.cols);
    this.backend.write(out, found);
  }

  /** It holds nothing of the backend's. */
  dispose(): void {}
}
