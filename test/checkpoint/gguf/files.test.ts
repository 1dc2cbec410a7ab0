// Files that others made, llama.cpp's own quantizer among them, held against what the Python package gguf reads in them.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { askProgram, hasModules, LLAMA_CPP, withoutPython } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";
import { ggmlName, interleave, tinyFile } from "./models.js";

const test = suite("GGUF files of others");

/** llama.cpp's numbers of mixtures of types. */
const FTYPES = {
  ...{ F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K_M: 12, Q4_K_M: 15 },
  ...{ Q5_K_M: 17, Q6_K: 18, IQ4_NL: 25, IQ4_XS: 30, BF16: 32 },
};
const HEADS = { q: 4, k: 2 };
const MODEL = {
  ...{ hidden_size: 256, intermediate_size: 512, num_attention_heads: HEADS.q },
  ...{ num_key_value_heads: HEADS.k, vocab_size: 10, tie_word_embeddings: false },
};

skipUnless(
  test,
  LLAMA_CPP !== undefined && hasModules("gguf"),
  "llama.cpp's library or the package gguf is not there; test/oracles/install.mjs installs them",
  "every type is read as gguf reads it, bit for bit",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "penjing-llama-"));
    try {
      const from = join(folder, "f32.gguf");
      writeFileSync(from, await tinyFile(MODEL));
      const names = Object.entries(FTYPES);
      const paths = names.map(([name]) => join(folder, `${name}.gguf`));
      const ftypes = names.map(([, number], i) => [number, paths[i]]);
      const question = { llama: LLAMA_CPP, from, ftypes };
      const answers = askProgram(question, "checkpoint", "gguf", "files.py") as Record<
        string,
        readonly [type: string, hash: string]
      >[];
      const types = new Set<string>();
      for (const [i, path] of paths.entries()) {
        const found = await openCheckpoint(path);
        for (const [name, { stored, shape }] of found.tensors) {
          const [type, hash] = answers[i][ggmlName(name)];
          const values = await found.readFloat32(name);
          const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
          const part = /\.([qk])_proj\./.exec(name)?.[1] as keyof typeof HEADS | undefined;
          const own = part ? interleave(bytes, shape[0], HEADS[part]) : bytes;
          assert.is(stored?.type, type, name);
          assert.is(createHash("sha256").update(own).digest("hex"), hash, `${path}: ${name}`);
          types.add(type);
        }
        await found.close();
      }
      note(`files of llama.cpp's quantizer: ${[...types].join(", ")}, the same bits as gguf reads`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

/** What the package gguf quantizes. */
const TYPES = [
  ...["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"],
];

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "what gguf writes is read as it reads it, bit for bit",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "penjing-gguf-"));
    try {
      const to = join(folder, "made.gguf");
      const question = { types: TYPES, to };
      const [answers] = askProgram(question, "checkpoint", "gguf", "files.py") as Record<
        string,
        readonly [type: string, hash: string]
      >[];
      const found = await openCheckpoint(to);
      assert.equal([...found.tensors.keys()].sort(), Object.keys(answers).sort());
      for (const [name, { stored, shape }] of found.tensors) {
        const [type, hash] = answers[name];
        const values = await found.readFloat32(name);
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        assert.equal([stored?.type, shape], [type, [6, 512]], name);
        assert.is(createHash("sha256").update(bytes).digest("hex"), hash, name);
      }
      await found.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test.run();
