/** The GGUF files of a model: one, or the parts that it was split into. */
import { PenjingError } from "../../errors.js";
import { partNames } from "../../platform/file-errors.js";
import type { ByteSource, Folder } from "../../platform/files.js";
import { quote } from "../../quote.js";
import { listNames } from "../safetensors-writer.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./header.js";
import { Keys } from "./keys.js";

/**
 * The one model among the GGUF files of a folder.
 *
 * @param names of all files
 * @returns the name of its file, or of its first part
 * @throws PenjingError when there are several
 */
export function onlyModel(folder: Folder, names: readonly string[]): string {
  const files = names.filter((name) => /^[^/]+\.gguf$/i.test(name));
  const [first, ...others] = files;
  const parts = partNames(first);
  if (others.every((name) => parts?.includes(name))) return first;
  throw new PenjingError(
    folder.path,
    `it holds several GGUF files (${listNames(files)}); give the path of the one to read.`,
  );
}

/** A tensor and the file that it is in. */
export interface Placed extends GgufTensor {
  readonly file: string;
  readonly source: ByteSource;
}

/** The open files of a model. */
export interface GgufFiles {
  /** Of the first part; the others only say which they are. */
  readonly keys: Keys;
  readonly tensors: readonly Placed[];
  readonly names: readonly string[];
  readonly sources: readonly ByteSource[];
}

/**
 * Opens the file of a model, with the other parts where it is one of several.
 *
 * @throws PenjingError when a part is missing or of another model, and as `readGgufHeader`
 */
export async function openGgufFiles(
  folder: Folder,
  name: string,
  signal: AbortSignal | undefined,
): Promise<GgufFiles> {
  const names = partNames(name) ?? [name];
  const missing: string[] = [];
  for (const part of names) if (!(await folder.has(part))) missing.push(part);
  if (missing.length > 0) {
    throw new PenjingError(
      folder.path,
      `the model was split into ${names.length} files, of which ${missing.length} are missing: ${listNames(missing)}; download them to the same folder.`,
    );
  }
  const sources: ByteSource[] = [];
  try {
    const tensors = new Map<string, Placed>();
    let first: Keys | undefined;
    for (const [i, part] of names.entries()) {
      const source = await folder.open(part);
      sources.push(source);
      const header = await readGgufHeader(source, signal);
      const keys = new Keys(source.name, header.keys);
      first ??= keys;
      checkPart(keys, header, i, names.length);
      for (const tensor of header.tensors) {
        const other = tensors.get(tensor.name);
        if (other) {
          throw new PenjingError(
            source.name,
            `its tensor ${quote(tensor.name)} is in ${other.file} too; take the parts of one model.`,
          );
        }
        tensors.set(tensor.name, { ...tensor, file: part, source });
      }
    }
    const total = first!.whole("split.tensors.count") ?? tensors.size;
    if (names.length > 1 && total !== tensors.size) {
      throw new PenjingError(
        folder.path,
        `the parts of the model hold ${tensors.size} tensors, but the first one says ${total}; take the parts of one model.`,
      );
    }
    return { keys: first!, tensors: [...tensors.values()], names, sources };
  } catch (error) {
    for (const source of sources) await source.close();
    throw error;
  }
}

/** Refuses a file that is another part than its name says. */
function checkPart(keys: Keys, { tensors }: GgufHeader, index: number, count: number): void {
  const says = keys.whole("split.count") ?? 1;
  const number = keys.whole("split.no") ?? 0;
  if (Math.max(says, 1) === count && number === index) return;
  const cure =
    count === 1
      ? `give the parts the names that they were made with, ending in -00001-of-${String(says).padStart(5, "0")}.gguf and so on`
      : "take the parts of one model";
  throw new PenjingError(
    keys.name,
    `it says that it is part ${number + 1} of ${says}, with ${tensors.length} tensors, but by its name it is part ${index + 1} of ${count}; ${cure}.`,
  );
}
