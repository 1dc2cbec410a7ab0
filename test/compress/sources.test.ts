import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { Sources } from "../../src/compress/sources.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { Random } from "../../src/random.js";
import { configOf, parseWeights, type Stored, storyFiles, withWeights } from "./stories.js";

const test = suite("sources");

const EMBEDDING = "model.embed_tokens.weight";
const MEBIBYTE = 2 ** 20;

/** The embedded model with an embedding of 9.5 MiB: pieces of 4 MiB, and a part of one. */
async function large() {
  const files = storyFiles();
  const weights = new Map<string, Stored>(parseWeights(files).tensors);
  const { dtype, shape } = weights.get(EMBEDDING)!;
  const [rows, random] = [(9.5 * MEBIBYTE) / (2 * shape[1]), new Random(3)];
  const bytes = Uint8Array.from({ length: 2 * rows * shape[1] }, () => 32 * random.next());
  weights.set(EMBEDDING, { dtype, shape: [rows, shape[1]], bytes });
  assert.is(configOf(files).tie_word_embeddings, true);
  const changed = await withWeights(files, weights, { vocab_size: rows });
  return readModel(await openCheckpoint(memoryFolder(changed)));
}

test("a digest is the same of a tensor read at once, in pieces in any order, or for it alone", async () => {
  const model = await large();
  const { byteLength } = model.checkpoint.tensors.get(EMBEDDING)!;
  assert.is(byteLength, 9.5 * MEBIBYTE);
  const alone = await new Sources(model).digest(EMBEDDING);
  assert.match(alone, /^[0-9a-f]{64}$/);

  const whole = new Sources(model);
  await whole.model.checkpoint.read(EMBEDDING);
  assert.equal(await whole.known(), { [EMBEDDING]: alone });

  const parts = new Sources(model);
  const { readRange } = parts.model.checkpoint;
  // Neither begins where a piece does, or ends where one does.
  await readRange(EMBEDDING, 100, 5 * MEBIBYTE);
  await readRange(EMBEDDING, 0, MEBIBYTE);
  await readRange(EMBEDDING, 8 * MEBIBYTE, 1.5 * MEBIBYTE);
  assert.equal(await parts.known(), {});
  await readRange(EMBEDDING, 0, 8 * MEBIBYTE);
  assert.equal(await parts.known(), { [EMBEDDING]: alone });
});

test.run();
