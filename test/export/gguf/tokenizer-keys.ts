/** Tokenizers said in keys, and read back. */
import { openGguf } from "../../../src/checkpoint/gguf/gguf.js";
import { makeHeader } from "../../../src/checkpoint/gguf/write/header.js";
import { tokenizerKeys } from "../../../src/checkpoint/gguf/write/tokenizer.js";
import { loadTokenizer, type Tokenizer } from "../../../src/checkpoint/tokenizer.js";
import { memoryFolder, openFolder } from "../../../src/platform/files.js";

/** The tokenizer of a folder, and its keys. */
export async function withTokenizer(path: string) {
  const folder = await openFolder(path);
  const tokenizer = await loadTokenizer(folder);
  // With some rows more than there are tokens, as many models have.
  return { ...(await tokenizerKeys(folder, { rows: tokenizer.vocabSize + 3 })), tokenizer };
}

/** The tokenizer that is read of these keys, in a file without tensors. */
export async function readTokenizer(
  keys: Awaited<ReturnType<typeof tokenizerKeys>>["keys"],
): Promise<Tokenizer> {
  const named = { "general.architecture": ["STRING", "llama"] as const, ...keys };
  const { bytes } = makeHeader("made", named, []);
  const found = {
    folder: memoryFolder({ "m.gguf": bytes }),
    ...{ names: ["m.gguf"], single: undefined, notes: [] },
  };
  const { folder } = await openGguf(found, undefined);
  return loadTokenizer({
    ...folder,
    // config.json needs the keys of a model.
    has: async (file) => file !== "config.json" && folder.has(file),
  });
}
