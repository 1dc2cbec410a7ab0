// Files of K types: which tensor has which type, as llama.cpp's own quantizer decides it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysOfOrigin } from "../../../src/checkpoint/gguf/keys.js";
import { scratch } from "../../cli/program.js";
import { storyFiles } from "../../compress/stories.js";
import { type Config, leastConfig, tinyCheckpoint } from "../../models/tiny.js";
import { openFiles } from "../../models/tiny-model.js";
import { askProgram, hasModules, LLAMA_CPP } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";
import { exportGguf, openExported } from "./exported.js";

const test = suite("GGUF of K types");
const folder = scratch(test);
type Look = Readonly<Record<string, readonly [type: string, hash: string]>>;

/** llama.cpp's numbers of files. */
const FILES = { Q4_K_S: 14, Q4_K_M: 15, Q6_K: 18 } as const;

const WIDE = { hidden_size: 256, intermediate_size: 256, num_attention_heads: 4 };

const MODELS: Readonly<Record<string, Config>> = {
  "llama with a head": {
    ...leastConfig("llama"),
    ...{ ...WIDE, num_key_value_heads: 2, num_hidden_layers: 9, tie_word_embeddings: false },
  },
  "llama without": {
    ...leastConfig("llama"),
    ...{ ...WIDE, num_key_value_heads: 2, num_hidden_layers: 8, tie_word_embeddings: true },
  },
  "rows of 320": {
    ...leastConfig("qwen2"),
    ...{ hidden_size: 320, intermediate_size: 512, num_attention_heads: 5 },
    ...{ num_key_value_heads: 1, num_hidden_layers: 8, tie_word_embeddings: true },
  },
  "rows of 80": {
    ...leastConfig("llama"),
    ...{ hidden_size: 80, intermediate_size: 96, num_attention_heads: 5 },
    ...{ num_key_value_heads: 1, num_hidden_layers: 3, tie_word_embeddings: false },
  },
  "phi3, whose linears are joined": {
    ...leastConfig("phi3"),
    ...{ ...WIDE, num_key_value_heads: 2, num_hidden_layers: 8, tie_word_embeddings: false },
  },
  gpt2: { ...leastConfig("gpt2"), n_embd: 256, n_layer: 3, n_head: 4 },
};

for (const [what, config] of Object.entries(MODELS)) {
  skipUnless(
    test,
    LLAMA_CPP !== undefined && hasModules("gguf"),
    "llama.cpp's library or the package gguf is not there; test/oracles/install.mjs installs them",
    `${what}: every tensor has the type that llama.cpp gives it`,
    async () => {
      const model = await tinyCheckpoint(config);
      const write = async (ggufType: string) => {
        const { files } = await exportGguf(model, { ggufType });
        const path = join(folder, `${ggufType}.gguf`);
        writeFileSync(path, files["model.gguf"]);
        return path;
      };
      const from = await write("F32");
      const names = Object.keys(FILES);
      const own: string[] = [];
      for (const name of names) own.push(await write(name));
      const ftypes = Object.values(FILES).map((type) => [type, join(folder, `other-${type}.gguf`)]);
      const ask = (question: object) =>
        askProgram(question, "checkpoint", "gguf", "files.py") as Look[];
      const made = ask({ look: own });
      const wanted = ask({ llama: LLAMA_CPP, from, ftypes });
      const typesOf = (look: Look) =>
        Object.entries(look)
          .map(([name, [type]]) => `${name} ${type}`)
          .sort();
      const seen = new Set<string>();
      for (const [i, name] of names.entries()) {
        assert.equal(typesOf(made[i]), typesOf(wanted[i]), name);
        for (const [type] of Object.values(made[i])) seen.add(type);
      }
      note(`${what}: ${[...seen].sort().join(", ")}, as llama.cpp chooses them`);
    },
  );
}

async function exported(config: Config, ggufType: string, more = {}) {
  const made = await exportGguf(await tinyCheckpoint(config), { ggufType, ...more });
  const found = await openExported(made);
  const types = [...found.tensors.values()].map(
    ({ name, stored }) => [name, stored!.type] as const,
  );
  // Small models have no tokenizer, as is noted.
  const notes = made.notes.filter((note) => !note.includes("tokenizer"));
  return { ...made, notes, found, types: Object.fromEntries(types) };
}

test("layers with more bits, and the file's number", async () => {
  const { found, types, notes, packed } = await exported(MODELS["llama with a head"], "q4_k_m");
  const six = Array.from({ length: 9 }, (_, i) => i).filter(
    (i) => types[`model.layers.${i}.mlp.down_proj.weight`] === "Q6_K",
  );
  assert.equal(six, [0, 3, 6, 7, 8]);
  assert.is(types["model.layers.4.self_attn.v_proj.weight"], "Q4_K");
  assert.is(types["model.layers.3.self_attn.v_proj.weight"], "Q6_K");
  assert.is(types["lm_head.weight"], "Q6_K");
  assert.is(types["model.embed_tokens.weight"], "Q4_K");
  assert.equal(notes, []);
  assert.is(packed, 9 * 7 + 2);
  const [, number] = keysOfOrigin.get(found.origin!)!.typed("general.file_type");
  assert.is(number, FILES.Q4_K_M);
});

test("one type for all linears, and another for the tables", async () => {
  const config = MODELS["llama without"];
  const { types } = await exported(config, "Q5_K", { ggufEmbedding: "F16" });
  const others = new Set(Object.entries(types).map(([, type]) => type));
  assert.equal([...others].sort(), ["F16", "F32", "Q5_K"]);
  assert.is(types["model.embed_tokens.weight"], "F16");
  assert.is((await exported(config, "Q4_K")).types["model.embed_tokens.weight"], "Q6_K");
});

test("one note tells of what is in the place of K types", async () => {
  const { notes, types } = await exported(MODELS["rows of 320"], "Q4_K_M");
  assert.equal(notes, [
    "49 tensors have rows that are no whole blocks of 256 weights and are Q8_0 in the place of Q6_K or are Q5_0 in the place of Q4_K; the first: token_embd.weight with 320 columns",
  ]);
  assert.is(types["model.layers.0.mlp.down_proj.weight"], "Q6_K");
  const narrow = await exported(MODELS["rows of 80"], "Q4_K_M");
  assert.match(
    narrow.notes.join(),
    /^\d+ tensors .* and stay F16 or are Q5_0 in the place of Q4_K/,
  );
});

test("values are near the model's, heads of queries and keys in their order", async () => {
  const model = await tinyCheckpoint(MODELS["llama with a head"]);
  const { found } = await exported(MODELS["llama with a head"], "Q4_K_S");
  for (const name of ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"]) {
    const weight = `model.layers.2.${name}.weight`;
    const [own, other] = [await model.readFloat32(weight), await found.readFloat32(weight)];
    const worst = own.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0);
    assert.ok(worst > 0 && worst < 0.05, `${name}: ${worst}`);
  }
});

test("a model of narrow rows is smaller all the same", async () => {
  const { notes, files } = await exportGguf(await openFiles(storyFiles()), { ggufType: "Q6_K" });
  assert.match(notes.join(), /^29 tensors .* 256 weights and are Q8_0 in the place of Q6_K; /);
  assert.ok(files["model.gguf"].length < 1.1e6);
});

test.run();
