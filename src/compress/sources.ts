import { digestOf, sha256 } from "../digest.js";
import { PIECE_BYTES, type StoredModel } from "../models/stored.js";

/**
 * Hex SHA-256 of the SHA-256s of a tensor's pieces of `PIECE_BYTES`, so that it is the same whether
 * the tensor is read at once or piece by piece.
 */
async function digestPieces(
  pieces: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<string> {
  const digests: string[] = [];
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    digests.push(String(await digestOf(piece)));
  }
  return sha256(digests.join(" "));
}

/** What a run read of its model: a digest of each tensor that was looked at. */
export class Sources {
  /** The model whose tensors are digested when they are first read as a whole. */
  readonly model: StoredModel;
  private readonly digests = new Map<string, Promise<string>>();

  constructor(
    private readonly original: StoredModel,
    /** Stops what is read for its digest alone. */
    readonly signal?: AbortSignal,
  ) {
    const { checkpoint } = original;
    const read = async (name: string) => {
      const bytes = await checkpoint.read(name);
      this.note(name, bytes);
      return bytes;
    };
    this.model = { ...original, checkpoint: { ...checkpoint, read } };
  }

  private note(name: string, bytes: Uint8Array): void {
    if (this.digests.has(name)) return;
    // Runs beside the work that the bytes were read for.
    this.digests.set(
      name,
      digestPieces(
        (async function* () {
          for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
            yield bytes.subarray(at, at + PIECE_BYTES);
          }
        })(),
      ),
    );
  }

  /**
   * The digest of a tensor, which is read for it unless it was before.
   *
   * @throws the signal's reason when it was aborted
   */
  digest(name: string): Promise<string> {
    const known = this.digests.get(name);
    if (known) return known;
    const { checkpoint } = this.original;
    const { byteLength } = checkpoint.tensors.get(name)!;
    const found = digestPieces(
      (async function* () {
        for (let at = 0; at < byteLength; at += PIECE_BYTES) {
          yield await checkpoint.readRange(name, at, Math.min(PIECE_BYTES, byteLength - at));
        }
      })(),
      this.signal,
    );
    this.digests.set(name, found);
    found.catch(() => this.digests.delete(name));
    return found;
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
