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
import { askProgram, hasModules, withoutPython } from "../../oracles/oracles.js";
import { skipUnless } from "../../shared.js";
import { tinyGguf } from "./models.js";
import { TYPE, type Typed, writeGguf } from "./writer.js";

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
      for (const [i, [config, more]] of CONFIGS.entries()) {
        const { written } = await tinyGguf(config);
        const keys: Record<string, Typed> = {
          ...(written.keys as Record<string, Typed>),
          ...{ "tokenizer.chat_template": ["string", TEMPLATE], ...more },
        };
        const bytes = new Uint8Array(FACTORS.buffer);
        const extra = { name: "rope_freqs.weight", shape: [4], type: TYPE.F32, bytes };
        const tensors = [...written.tensors!, ...(config.head_dim === 8 ? [extra] : [])];
        const file = writeGguf({ keys, tensors });
        const model = await openCheckpoint(memoryFolder({ "m.gguf": file }));
        const path = join(root, String(i));
        const recipe = { method: "magnitude", sparsity: "25%" };
        await compress({ model, out: path, recipe }).result();
        questions.push({ path, ids: IDS, texts: SPACED });
        const running = await openRunning(path, { backend: "reference" });
        const { tokenizer, folder } = running;
        const template = await loadChatTemplate(folder);
        own.push({
          nll: [...(await losses(running, Int32Array.from(IDS)))],
          texts: SPACED.map((text) => [
            [...tokenizer.encode(text)],
            [...tokenizer.encode(text, { addSpecialTokens: true })],
          ]),
          chat: template!.render([{ role: "user", content: "ab" }], { addGenerationPrompt: true }),
        });
        await running.close();
      }
      const answers = askProgram(questions, "checkpoint", "gguf", "opened.py") as Answer[];
      for (const [i, { nll, texts, chat }] of answers.entries()) {
        const what = JSON.stringify(CONFIGS[i]);
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
