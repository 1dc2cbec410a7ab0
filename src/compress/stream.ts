import type { Backend } from "../backend.js";
import { fromFloat32, toFloat32 } from "../checkpoint/dtype.js";
import { digestOf } from "../digest.js";
import { gpuGaveNonFinite, PenjingError } from "../errors.js";
import type { WorkFolder } from "../platform/work-folder.js";
import { rowsOf, type Tensor } from "../tensor.js";
import type { Settings } from "./settings.js";

/** Most bytes of a chunk: it is kept and restored as a whole, and held as a whole where the others are not. */
const CHUNK_BYTES = 2 ** 26;
/** Chunks that a stream of fewer bytes has all the same. */
const CHUNKS = 8;

export interface StreamOptions {
  /**
   * How the numbers are kept. bf16 rounds them to nearest, ties to even, whenever they are written,
   * and takes half the bytes.
   *
   * @default "f32"
   */
  readonly dtype?: Settings["stream"] | undefined;
  /** Keeps the chunks there, and only one of them in memory. @default all of them in memory */
  readonly folder?: WorkFolder | undefined;
  /** Begins the names of the chunks in the folder. @default "stream" */
  readonly name?: string | undefined;
  /** Most bytes of a chunk; `together` rows at least. @default 64 MiB, or an eighth of all */
  readonly chunkBytes?: number | undefined;
  /** So many rows are read and written together from the first on: no chunk ends amid them. @default 1 */
  readonly together?: number | undefined;
}

/** How rows are cut into chunks. */
type Cut = Pick<StreamOptions, "dtype" | "chunkBytes" | "together">;

function rowBytesOf(cols: number, dtype: StreamOptions["dtype"]): number {
  return cols * (dtype === "bf16" ? 2 : 4);
}

/** Rows of each chunk of a stream but the last, which may have fewer. */
function chunkRowsOf(rows: number, cols: number, { dtype, chunkBytes, together }: Cut): number {
  const rowBytes = rowBytesOf(cols, dtype);
  const most = chunkBytes ?? Math.min(CHUNK_BYTES, (rows * rowBytes) / CHUNKS);
  // Without windows none are read together.
  const some = together || 1;
  return Math.max(1, Math.floor(most / (some * rowBytes))) * some;
}

/** Bytes of a stream, and those of its largest chunk, which is in memory where chunks lie in a folder. */
export function streamBytes(
  rows: number,
  cols: number,
  cut: Cut,
): { readonly whole: number; readonly chunk: number } {
  const rowBytes = rowBytesOf(cols, cut.dtype);
  return { whole: rows * rowBytes, chunk: Math.min(rows, chunkRowsOf(rows, cols, cut)) * rowBytes };
}

/** Where the chunks of a stream lie. */
interface Chunks {
  /** Whether all chunks can be written in turns at no cost. */
  readonly areAtHand: boolean;
  /** The bytes of a chunk in place, until the next call; zeros where nothing was written yet. */
  open(index: number): Promise<Uint8Array>;
  /** The same, to be written. */
  change(index: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Every chunk in an ArrayBuffer of its own. */
class MemoryChunks implements Chunks {
  readonly areAtHand = true;
  private readonly chunks: Uint8Array[];

  constructor(sizes: readonly number[]) {
    try {
      this.chunks = sizes.map((bytes) => new Uint8Array(bytes));
    } catch (cause) {
      const all = Math.ceil(sizes.reduce((sum, bytes) => sum + bytes, 0) / 2 ** 20);
      throw new PenjingError(
        "calibration",
        `there is no memory for the ${all} MiB of its activations; use fewer or shorter samples, \`stream: bf16\`, which halves them, or \`spill\`, which has them in the work folder.`,
        { cause },
      );
    }
  }

  async open(index: number): Promise<Uint8Array> {
    return this.chunks[index];
  }

  change(index: number): Promise<Uint8Array> {
    return this.open(index);
  }

  async close(): Promise<void> {
    this.chunks.length = 0;
  }
}

/**
 * Every chunk in a file, the latest one in memory too. The files are scratch of one process: what is
 * to outlive it must be kept by `ResidualStream.chunk`. Each is read as it was written, or not at all.
 */
class FolderChunks implements Chunks {
  readonly areAtHand = false;
  private bytes = new Uint8Array();
  private at = -1;
  private isChanged = false;
  /** Of the bytes of those that are written. */
  private readonly digests = new Map<number, Uint8Array>();

  constructor(
    private readonly sizes: readonly number[],
    private readonly folder: WorkFolder,
    private readonly name: string,
  ) {}

  private file(index: number): string {
    return `${this.name}.${index}`;
  }

  async open(index: number): Promise<Uint8Array> {
    if (index === this.at) return this.bytes;
    if (this.isChanged) {
      await this.folder.write(this.file(this.at), this.bytes);
      this.digests.set(this.at, await digestOf(this.bytes));
    }
    this.isChanged = false;
    this.at = -1;
    this.bytes = new Uint8Array();
    this.bytes = await this.read(index);
    this.at = index;
    return this.bytes;
  }

  private async read(index: number): Promise<Uint8Array<ArrayBuffer>> {
    const digest = this.digests.get(index);
    if (!digest) return new Uint8Array(this.sizes[index]);
    const bytes = await this.folder.read(this.file(index));
    const found = bytes && (await digestOf(bytes));
    if (found && digest.every((byte, i) => byte === found[i])) {
      return bytes as Uint8Array<ArrayBuffer>;
    }
    throw new PenjingError(
      this.folder.path,
      `${this.file(index)} was ${bytes ? "damaged" : "removed"} while the work went on; begin again with the same command, which goes on from what is left.`,
    );
  }

  async change(index: number): Promise<Uint8Array> {
    const bytes = await this.open(index);
    this.isChanged = true;
    return bytes;
  }

  async close(): Promise<void> {
    this.bytes = new Uint8Array();
    for (const index of this.sizes.keys()) await this.folder.remove(this.file(index));
  }
}

/** One in seven values is looked at: a fault of a GPU seldom hits one alone. */
const LOOKED_AT = 7;

function checkRead(values: Float32Array): void {
  for (let i = 0; i < values.length; i += LOOKED_AT) {
    if (!Number.isFinite(values[i])) throw gpuGaveNonFinite("activations");
  }
}

/**
 * The residual stream of the calibration windows between two blocks, [rows, cols] numbers outside the
 * backend, of which a backend holds some rows at a time. Its bytes are little-endian, row by row, cut
 * into chunks of whole rows. Several may stand side by side.
 */
export class ResidualStream {
  /** Of each chunk but the last, which may have fewer. */
  readonly chunkRows: number;
  /** Chunks that it is cut into. */
  readonly chunkCount: number;
  private readonly dtype: "F32" | "BF16";
  private readonly rowBytes: number;
  private readonly chunks: Chunks;

  /**
   * A stream of zeros.
   *
   * @throws PenjingError when there is no memory for it
   */
  constructor(
    private readonly backend: Backend,
    readonly rows: number,
    readonly cols: number,
    private readonly options: StreamOptions = {},
  ) {
    const { dtype = "f32", folder, name = "stream" } = options;
    this.dtype = dtype === "f32" ? "F32" : "BF16";
    this.rowBytes = rowBytesOf(cols, dtype);
    this.chunkRows = chunkRowsOf(rows, cols, options);
    this.chunkCount = Math.ceil(rows / this.chunkRows);
    const sizes = Array.from(
      { length: this.chunkCount },
      (_, i) => Math.min(this.chunkRows, rows - i * this.chunkRows) * this.rowBytes,
    );
    this.chunks = folder ? new FolderChunks(sizes, folder, name) : new MemoryChunks(sizes);
  }

  /** Bytes of all its numbers, wherever they lie. */
  get byteLength(): number {
    return this.rows * this.rowBytes;
  }

  /** Rows that may be written in any order at no cost: all, or those of one chunk of a folder's. */
  get rowsAtHand(): number {
    return this.chunks.areAtHand ? this.rows : this.chunkRows;
  }

  /** Cuts rows at the borders of chunks. */
  private *pieces(
    first: number,
    count: number,
  ): Generator<{ index: number; at: number; count: number; start: number; end: number }> {
    for (let at = 0; at < count; ) {
      const index = Math.floor((first + at) / this.chunkRows);
      const within = first + at - index * this.chunkRows;
      const some = Math.min(count - at, this.chunkRows - within);
      const [start, end] = [within * this.rowBytes, (within + some) * this.rowBytes];
      yield { index, at, count: some, start, end };
      at += some;
    }
  }

  /**
   * Copies rows into a tensor.
   *
   * @param first the first row
   * @param out f32 [count, cols] on the backend
   */
  async read(first: number, out: Tensor): Promise<void> {
    for (const { index, at, count, start, end } of this.pieces(first, rowsOf(out))) {
      const bytes = (await this.chunks.open(index)).subarray(start, end);
      const values = toFloat32({ name: "stream", dtype: this.dtype }, bytes);
      this.backend.write(this.backend.rows(out, at, count), values);
    }
  }

  /**
   * Copies a tensor into rows.
   *
   * @param first the first row
   * @param values f32 [count, cols] on the backend
   * @throws DeviceError when a GPU gives values that are not finite
   */
  async write(first: number, values: Tensor): Promise<void> {
    const data = (await this.backend.read(values)) as Float32Array;
    if (this.backend.name === "webgpu") checkRead(data);
    await this.put(first, data);
  }

  /** Like `write`, with the values of whole rows. */
  async put(first: number, values: Float32Array): Promise<void> {
    for (const { index, at, count, start } of this.pieces(first, values.length / this.cols)) {
      const some = values.subarray(at * this.cols, (at + count) * this.cols);
      const bytes =
        this.dtype === "F32"
          ? new Uint8Array(some.buffer, some.byteOffset, some.byteLength)
          : fromFloat32(this.dtype, some);
      (await this.chunks.change(index)).set(bytes, start);
    }
  }

  /** The bytes of a chunk, to be copied before the stream is used again. */
  chunk(index: number): Promise<Uint8Array> {
    return this.chunks.open(index);
  }

  /** Sets the bytes of a chunk as `chunk` gave them. */
  async restore(index: number, bytes: Uint8Array): Promise<void> {
    (await this.chunks.change(index)).set(bytes);
  }

  /**
   * A second stream that begins as this one stands.
   *
   * @param name of its chunks in a folder; not this one's
   */
  async copy(name: string): Promise<ResidualStream> {
    const { backend, rows, cols, options } = this;
    const second = new ResidualStream(backend, rows, cols, { ...options, name });
    try {
      for (let i = 0; i < this.chunkCount; i++) await second.restore(i, await this.chunk(i));
      return second;
    } catch (error) {
      await second.close();
      throw error;
    }
  }

  /** Frees its memory and removes its files. */
  close(): Promise<void> {
    return this.chunks.close();
  }
}
