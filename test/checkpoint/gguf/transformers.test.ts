// What compress writes of a GGUF file is a folder that transformers opens.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadChatTemplate } from "../../../src/checkpoint/chat-template.js";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { compress } from "../../../src/compress.js";
import { openRunning } from "../../../src/models/open.js";
import { memoryFolder } from "../../../src/platform/files.js";
import { losses } from "../../losses.js";
import type { Config } from "../../models/tiny.js";
import { openFiles, tinyFiles } from "../../models/tiny-model.js";
import { askProgram, hasModules, withoutPython } from "../../oracles/oracles.js";
import { skipUnless } from "../../shared.js";
import { CONVERTERS, convert } from "./families.js";
import { tinyGguf } from "./models.js";
import { TYPE, type Typed, type Written, writeGguf } from "./writer.js";

const test = suite("GGUF to transformers");

interface Answer {
  readonly nll: readonly number[];
  readonly texts: readonly (readonly [readonly number[], readonly number[]])[];
  readonly chat: string | null;
}

/** Llama 3's divisors of four frequencies, with a factor of 8 and 8192 positions. */
const FACTORS = Float32Array.of(1, 1, 2.6945297, 8);
const TEMPLATE = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}{{ eos_token }}";

const CONFIGS: readonly (readonly [Config, Record<string, Typed>])[] = [
  [{}, { "tokenizer.ggml.add_bos_token": ["bool", true] }],
  [{ tie_word_embeddings: true, head_dim: 8, rope_theta: 500000 }, {}],
  [{ model_type: "mistral", sliding_window: 4 }, { "tokenizer.ggml.pre": ["string", "tekken"] }],
  [{ model_type: "qwen2" }, { "tokenizer.ggml.pre": ["string", "qwen2"] }],
  [{ model_type: "qwen3", head_dim: 6 }, { "tokenizer.ggml.pre": ["string", "qwen2"] }],
];
const IDS = [0, 2, 8, 5, 9, 3, 4, 8, 6, 7, 2, 1];
const SPACED = ["abc cab", "<s>ab c</s>  a", "cab abc\n\nab"];

/** Models of CONFIGS. */
async function llamaFiles(): Promise<Written[]> {
  const files: Written[] = [];
  for (const [config, more] of CONFIGS) {
    const { written } = await tinyGguf(config);
    const bytes = new Uint8Array(FACTORS.buffer);
    const extra = { name: "rope_freqs.weight", shape: [4], type: TYPE.F32, bytes };
    const tensors = [...written.tensors!, ...(config.head_dim === 8 ? [extra] : [])];
    files.push({ keys: { ...(written.keys as Record<string, Typed>), ...more }, tensors });
  }
  return files;
}

const FAMILIES = Object.keys(CONVERTERS);

/** Small models of the other families. */
async function familyFiles(): Promise<Written[]> {
  const models = await Promise.all(FAMILIES.map((family) => openFiles(tinyFiles(family))));
  return Promise.all(FAMILIES.map((family, i) => convert(models[i], CONVERTERS[family])));
}

skipUnless(
  test,
  hasModules("torch", "transformers"),
  withoutPython("torch", "transformers"),
  "transformers opens what is written, and computes the same",
  async () => {
    const root = mkdtempSync(join(tmpdir(), "penjing-gguf-"));
    try {
      const questions: object[] = [];
      const own: Answer[] = [];
      const files = [...(await llamaFiles()), ...(await familyFiles())];
      for (const [i, { keys, tensors }] of files.entries()) {
        const chat = { "tokenizer.chat_template": ["string", TEMPLATE] } as const;
        const file = writeGguf({ keys: { ...(keys as Record<string, Typed>), ...chat }, tensors });
        const model = await openCheckpoint(memoryFolder({ "m.gguf": file }));
        const path = join(root, String(i));
        const recipe = { method: "magnitude", sparsity: "25%" };
        // Gemma's embeddings are scaled by a number in the dtype that config.json names.
        const dtype = i < CONFIGS.length ? "bf16" : "f32";
        await compress({ model, out: path, recipe, dtype }).result();
        // Of some families transformers makes the tokenizer anew, as no tokenizer of these tokens is.
        const spaced = i < CONFIGS.length ? SPACED : [];
        questions.push({ path, ids: IDS, texts: spaced });
        const running = await openRunning(path, { backend: "reference" });
        const { tokenizer, folder } = running;
        const template = await loadChatTemplate(folder);
        own.push({
          nll: [...(await losses(running, Int32Array.from(IDS)))],
          texts: spaced.map((text) => [
            [...tokenizer.encode(text)],
            [...tokenizer.encode(text, { addSpecialTokens: true })],
          ]),
          chat: template!.render([{ role: "user", content: "ab" }], { addGenerationPrompt: true }),
        });
        await running.close();
      }
      const answers = askProgram(questions, "checkpoint", "gguf", "opened.py") as Answer[];
      for (const [i, { nll, texts, chat }] of answers.entries()) {
        const what = FAMILIES[i - CONFIGS.length] ?? JSON.stringify(CONFIGS[i]);
        for (const [at, one] of nll.entries()) {
          assert.ok(
            Math.abs(one - own[i].nll[at]) < 1e-4,
            `${what} ${at}: ${own[i].nll[at]}, ${one}`,
          );
        }
        assert.equal(own[i].texts, texts, what);
        assert.is(own[i].chat, chat, what);
      }
    } finally {
      rmSync(root, { recursive: true });
    }
  },
);

test.run();
