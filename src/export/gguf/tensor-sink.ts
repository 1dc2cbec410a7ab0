/** Values of a tensor on their way into a GGUF file: encoded, put in order, written piece by piece. */
import { fromFloat32 } from "../../checkpoint/dtype.js";
import { type Change, type Doing, doing } from "../../checkpoint/gguf/change.js";
import { typeNamed } from "../../checkpoint/gguf/types.js";
import { ENCODERS, firstOverflow } from "../../checkpoint/gguf/write/encode.js";
import type { GgufWriter } from "../../checkpoint/gguf/write/file.js";
import { type EncodeKBlocks, K_ENCODERS } from "../../checkpoint/gguf/write/k-types.js";
import { PenjingError } from "../../errors.js";
import { elementsOf, type Planned } from "./plan.js";
import { isQuantized } from "./types.js";

/** Takes a tensor's values in order. */
export class TensorSink {
  private readonly order: Doing | undefined;
  private readonly rowBytes: number;
  private readonly addend: number;
  /** Bytes that are written. */
  private written = 0;
  /** Rows that wait until all that are put in order together are there. */
  private waiting: Uint8Array[] = [];

  /**
   * @param change what llama.cpp's converter would do to the tensor
   * @param importance what an error in each column weighs, where the type heeds it
   */
  constructor(
    private readonly writer: GgufWriter,
    private readonly planned: Planned,
    change: Change | undefined,
    private readonly where: string,
    private readonly importance?: Float32Array,
  ) {
    const { type, shape } = planned;
    const { weights, bytes } = typeNamed(type);
    const rows = shape[0];
    this.rowBytes = (elementsOf(planned) / rows / weights) * bytes;
    this.order = change && doing(change, rows, this.rowBytes);
    this.addend = change?.kind === "plusOne" ? 1 : 0;
  }

  /** Takes some values more, whole rows of a matrix. */
  async add(values: Float32Array): Promise<void> {
    const shifted = this.addend === 0 ? values : values.map((value) => value + this.addend);
    await this.addRows(this.encode(shifted));
  }

  /** Takes some rows more as they are stored. */
  async addRows(bytes: Uint8Array): Promise<void> {
    if (!this.order) return this.put(bytes);
    this.waiting.push(bytes);
    const unitBytes = this.order.unit * this.rowBytes;
    const length = this.waiting.reduce((sum, one) => sum + one.length, 0);
    const whole = Math.floor(length / unitBytes) * unitBytes;
    if (whole === 0) return;
    const all = new Uint8Array(length);
    let at = 0;
    for (const one of this.waiting) {
      all.set(one, at);
      at += one.length;
    }
    this.waiting = whole < length ? [all.slice(whole)] : [];
    await this.put(this.order.apply(all.subarray(0, whole)));
  }

  private async put(bytes: Uint8Array): Promise<void> {
    await this.writer.writeRange(this.planned.name, this.written, bytes);
    this.written += bytes.length;
  }

  private encode(values: Float32Array): Uint8Array {
    const { type } = this.planned;
    const bad = firstNotFinite(values);
    if (bad !== undefined) throw this.refusal(`it holds ${bad}; take a model without`);
    if (!isQuantized(type)) {
      const most = largestOf(values);
      // From here on halves round to infinity.
      if (type === "F16" && most >= 65520) throw this.refusal(tooLarge(most));
      return fromFloat32(type, values);
    }
    const { weights, bytes: blockBytes } = typeNamed(type);
    const bytes = new Uint8Array((values.length / weights) * blockBytes);
    const encode: EncodeKBlocks = ENCODERS[type] ?? K_ENCODERS[type];
    encode(values, bytes, this.importance);
    const block = firstOverflow(type, bytes, blockBytes);
    if (block < 0) return bytes;
    const own = values.subarray(block * weights, (block + 1) * weights);
    throw this.refusal(tooLarge(largestOf(own)));
  }

  private refusal(what: string) {
    const name = this.planned.source?.name ?? this.planned.name;
    return new PenjingError(this.where, `${name}: ${what}.`);
  }
}

/** Undefined when all are finite. */
function firstNotFinite(values: Float32Array): number | undefined {
  for (let i = 0; i < values.length; i++) {
    // Of NaN, too.
    if (!(Math.abs(values[i]) < Number.POSITIVE_INFINITY)) return values[i];
  }
  return undefined;
}

/** The largest of the values' sizes. */
function largestOf(values: Float32Array): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]));
  return most;
}

function tooLarge(value: number): string {
  return `it holds ${value}, too large for the halves that its type stores; choose the type F32 or BF16 for it`;
}
