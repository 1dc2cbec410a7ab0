import { digestOf, sha256 } from "../digest.js";
import { PIECE_BYTES, type StoredModel } from "../models/stored.js";

/**
 * Hex SHA-256 of the SHA-256s of a tensor's pieces of `PIECE_BYTES`, so that it is the same whether
 * the tensor is read at once or piece by piece.
 */
async function digestOfPieces(digests: Iterable<Promise<Uint8Array>>): Promise<string> {
  return sha256((await Promise.all(digests)).map(String).join(" "));
}

/** What a run read of its model: a digest of each tensor that was looked at. */
export class Sources {
  /** The model whose tensors are digested when they are first read whole, at once or in pieces. */
  readonly model: StoredModel;
  private readonly digests = new Map<string, Promise<string>>();
  /** Digests of pieces of tensors of which others were not read yet. */
  private readonly begun = new Map<string, Map<number, Promise<Uint8Array>>>();

  constructor(
    private readonly original: StoredModel,
    /** Stops what is read for its digest alone. */
    readonly signal?: AbortSignal,
  ) {
    const { checkpoint } = original;
    const read = async (name: string) => {
      const bytes = await checkpoint.read(name);
      this.note(name, 0, bytes);
      return bytes;
    };
    const readRange = async (name: string, start: number, length: number) => {
      const bytes = await checkpoint.readRange(name, start, length);
      this.note(name, start, bytes);
      return bytes;
    };
    this.model = { ...original, checkpoint: { ...checkpoint, read, readRange } };
  }

  /** Digests the whole pieces that begin at a byte, beside the work that they were read for. */
  private note(name: string, start: number, bytes: Uint8Array): void {
    if (this.digests.has(name) || start % PIECE_BYTES !== 0) return;
    const { byteLength } = this.original.checkpoint.tensors.get(name)!;
    const digests = this.begun.get(name) ?? new Map<number, Promise<Uint8Array>>();
    for (let at = start; at < start + bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at - start, at - start + PIECE_BYTES);
      const isWhole = piece.length === PIECE_BYTES || at + piece.length === byteLength;
      if (isWhole && !digests.has(at)) digests.set(at, digestOf(piece));
    }
    this.begun.set(name, digests);
    if (digests.size < Math.ceil(byteLength / PIECE_BYTES)) return;
    this.begun.delete(name);
    const inOrder = [...digests].sort(([one], [other]) => one - other);
    this.digests.set(name, digestOfPieces(inOrder.map(([, digest]) => digest)));
  }

  /**
   * The digest of a tensor, which is read for it unless it was before.
   *
   * @throws the signal's reason when it was aborted
   */
  digest(name: string): Promise<string> {
    const known = this.digests.get(name);
    if (known) return known;
    const found = this.readForDigest(name);
    this.digests.set(name, found);
    found.catch(() => this.digests.delete(name));
    return found;
  }

  private async readForDigest(name: string): Promise<string> {
    const { checkpoint } = this.original;
    const { byteLength } = checkpoint.tensors.get(name)!;
    const digests: Promise<Uint8Array>[] = [];
    for (let at = 0; at < byteLength; at += PIECE_BYTES) {
      this.signal?.throwIfAborted();
      const length = Math.min(PIECE_BYTES, byteLength - at);
      const digest = digestOf(await checkpoint.readRange(name, at, length));
      digests.push(digest);
      // One piece in memory at a time.
      await digest;
    }
    return digestOfPieces(digests);
  }

  /** The digests so far; none of a tensor whose reading was stopped. */
  async known(): Promise<Record<string, string>> {
    const names = [...this.digests.keys()];
    const found = await Promise.allSettled(this.digests.values());
    const entries = names.flatMap((name, i) => {
      const digest = found[i];
      return digest.status === "fulfilled" ? [[name, digest.value]] : [];
    });
    return Object.fromEntries(entries);
  }

  /** The first tensor that is not what it was; undefined when all are. */
  async confirm(before: Readonly<Record<string, string>>): Promise<string | undefined> {
    for (const [name, digest] of Object.entries(before)) {
      const isThere = this.original.checkpoint.tensors.has(name);
      if (!isThere || (await this.digest(name)) !== digest) return name;
    }
    return undefined;
  }

  /** Tells the model's content from any other, after reading what was not read before. */
  async ofModel(): Promise<string> {
    const digests: string[] = [];
    for (const name of this.original.checkpoint.tensors.keys()) {
      digests.push(`${name} ${await this.digest(name)}`);
    }
    return sha256(digests.join("\n"));
  }
}
