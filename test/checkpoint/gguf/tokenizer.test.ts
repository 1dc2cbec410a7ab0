import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadChatTemplate } from "../../../src/checkpoint/chat-template.js";
import { PRE_TOKENIZERS } from "../../../src/checkpoint/gguf/pre-tokenizers.js";
import { loadTokenizer } from "../../../src/checkpoint/tokenizer.js";
import { PenjingError } from "../../../src/errors.js";
import { openFolder } from "../../../src/platform/files.js";
import { hasModules, tokenizerFolder, withoutPython } from "../../oracles/oracles.js";
import { skipUnless } from "../../shared.js";
import { askLibrary } from "../tokenizer/library.js";
import { TEXTS } from "../tokenizer/texts.js";
import { TINY_TOKENS } from "./models.js";
import { type Keys, keysOf, load, openKeys } from "./tokenizer-keys.js";

const test = suite("tokenizers of GGUF");

async function refusal(keys: Keys): Promise<string> {
  const error = await load(keys).then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  return error.message;
}

/** Real tokenizers, and the names that llama.cpp has for them. */
const REAL: readonly (readonly [string, string | undefined, Keys])[] = [
  ["llama3_1", "llama-bpe", { "tokenizer.ggml.bos_token_id": ["u32", 128000] }],
  ["qwen3", "qwen2", { "tokenizer.ggml.add_bos_token": ["bool", false] }],
  ["gptoss", "gpt-4o", {}],
  ["deepseek_v3", "deepseek-v3", {}],
  ["llama2", undefined, {}],
];

for (const [name, pre, keys] of REAL) {
  const folder = tokenizerFolder(name);
  skipUnless(
    test,
    folder !== undefined,
    "the real tokenizers are not there; test/oracles/install.mjs installs them",
    `${name}, rebuilt from its keys, gives the same ids`,
    async () => {
      const original = await loadTokenizer(await openFolder(folder!));
      const made = await load(keysOf(join(folder!, "tokenizer.json"), pre, keys));
      const special = ["<|begin_of_text|>a<|eot_id|> b", "<s> x </s>", "<|im_start|>user\n<think>"];
      for (const text of [...TEXTS, ...special]) {
        const ids = original.encode(text);
        assert.equal(made.encode(text), ids, JSON.stringify(text));
        assert.is(made.decode(ids), original.decode(ids), JSON.stringify(text));
      }
    },
  );
}

const library = hasModules("tokenizers");

skipUnless(
  test,
  library,
  withoutPython("tokenizers"),
  "the tokenizers library reads what is made as it is read here",
  async () => {
    for (const pre of new Set(PRE_TOKENIZERS.keys())) {
      const keys: Keys = { ...TINY_TOKENS, "tokenizer.ggml.pre": ["string", pre] };
      keys["tokenizer.ggml.add_bos_token"] = ["bool", pre.length % 2 === 0];
      const { folder } = await openKeys(keys);
      const definition = await folder.readText("tokenizer.json", 1e6);
      const texts = ["abc cab", "<s>ab c</s>  a", "a\n\nb"];
      const [answers] = askLibrary([{ definition, texts }]);
      const own = await loadTokenizer(folder);
      for (const [i, text] of texts.entries()) {
        const [ids, around] = answers[i] as unknown as [number[], number[]];
        assert.equal([...own.encode(text)], ids, `${pre}: ${text}`);
        assert.equal([...own.encode(text, { addSpecialTokens: true })], around, `${pre}: ${text}`);
      }
    }
  },
);

test("the chat template and the tokens with a meaning are kept", async () => {
  const template = "{% for m in messages %}{{ bos_token + m['content'] }}{% endfor %}";
  const keys: Keys = {
    ...TINY_TOKENS,
    "tokenizer.chat_template": ["string", template],
    "tokenizer.ggml.eot_token_id": ["u32", 2],
    "tokenizer.ggml.add_bos_token": ["bool", true],
  };
  const { folder } = await openKeys(keys);
  const chat = await loadChatTemplate(folder);
  assert.is(chat?.render([{ role: "user", content: "abc" }]), "<s>abc");
  const tokenizer = await loadTokenizer(folder);
  assert.is(tokenizer.bosId, 0);
  assert.equal([...tokenizer.encode("abc", { addSpecialTokens: true })], [0, 8]);
  assert.equal([...tokenizer.encode("abc")], [8]);
  const named = { ...keys, "tokenizer.chat_template.tool_use": ["string", "tools"] as const };
  const several = await loadChatTemplate((await openKeys(named)).folder);
  assert.is(several?.render([{ role: "user", content: "b" }]), "<s>b");
});

const without = (key: string): Keys => {
  const { [key]: _, ...others } = TINY_TOKENS;
  return others;
};
const WRONG: readonly (readonly [string, Keys, RegExp])[] = [
  [
    "an unknown pre-tokenizer",
    { ...TINY_TOKENS, "tokenizer.ggml.pre": ["string", "new-one"] },
    /its pre-tokenizer is "new-one", which is not known here \(known are gpt-2, .*as `tokenizer`/,
  ],
  [
    "no pre-tokenizer",
    without("tokenizer.ggml.pre"),
    /no key "tokenizer\.ggml\.pre".*as `tokenizer`/,
  ],
  [
    "another kind",
    { ...TINY_TOKENS, "tokenizer.ggml.model": ["string", "t5"] },
    /of the kind "t5"; "gpt2"/,
  ],
  ["no tokens", without("tokenizer.ggml.tokens"), /"tokenizer\.ggml\.tokens" is missing/],
  [
    "tokens that are numbers",
    { ...TINY_TOKENS, "tokenizer.ggml.tokens": ["u8", [1]] },
    /list of U8, must be one of texts|token_type/,
  ],
  ["no merges", without("tokenizer.ggml.merges"), /"tokenizer\.ggml\.merges" is missing/],
  [
    "a merge of one",
    { ...TINY_TOKENS, "tokenizer.ggml.merges": ["string", ["ab"]] },
    /pairs of tokens, found "ab"/,
  ],
  [
    "a merge of unknown tokens",
    { ...TINY_TOKENS, "tokenizer.ggml.merges": ["string", ["x y"]] },
    /merge/,
  ],
  [
    "too few types",
    { ...TINY_TOKENS, "tokenizer.ggml.token_type": ["i32", [1]] },
    /a list of 10 numbers/,
  ],
  [
    "a token twice",
    { ...TINY_TOKENS, "tokenizer.ggml.tokens": ["string", Array(10).fill("a")] },
    /tokens 0 and 1 are both "a"/,
  ],
  [
    "a BOS token that is not there",
    { ...TINY_TOKENS, "tokenizer.ggml.bos_token_id": ["u32", 10] },
    /names the token 10, which its vocabulary of 10 lacks/,
  ],
  [
    "scores that are missing",
    { ...TINY_TOKENS, "tokenizer.ggml.model": ["string", "llama"] },
    /"tokenizer\.ggml\.scores" is missing/,
  ],
  ["no tokenizer", {}, /it has no tokenizer\.json/],
];

for (const [what, keys, message] of WRONG) {
  test(`${what}: refused in a sentence`, async () => {
    assert.match(await refusal(keys), message);
  });
}

test.run();
