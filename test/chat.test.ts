import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { type GenerateOptions, generate } from "../src/generate.js";
import { openModel } from "../src/models/open.js";
import { memoryFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { configOf, storyFiles } from "./compress/stories.js";

const test = suite("chat");

/** Each user's message, then what the assistant told of it. */
const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ m.content + '<|end|>' }}" +
  "{% else %}{{ m.content }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}Once upon a time{% endif %}";
const HELLO = [{ role: "user", content: "Hi" }];

/** The embedded model with a chat template, and more tokens that end a text. */
async function withTemplate(chat_template: string | undefined, eos_token_id: number[] = []) {
  const files = storyFiles();
  const json = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const settings = {
    bos_token: "<|end|>",
    eos_token: "<|end|>",
    add_bos_token: true,
    chat_template,
  };
  const checkpoint = await openCheckpoint(
    memoryFolder(
      {
        ...files,
        "config.json": json(configOf(files)),
        "tokenizer_config.json": json(settings),
        "generation_config.json": json({ eos_token_id }),
      },
      "model",
    ),
  );
  return openModel(checkpoint, { backend: "wasm" });
}

const model = await withTemplate(TEMPLATE);
const answer = (options: Partial<GenerateOptions>) =>
  generate({ model, maxNewTokens: 12, ...options }).result();

test("messages are encoded as the template writes them, with no second BOS", async () => {
  const { promptIds, ids, text, bosId } = await answer({ messages: HELLO });
  const { tokenizer } = model;
  const end = tokenizer.eosIds[0];
  assert.equal(
    [...promptIds],
    [end, ...tokenizer.encode("Hi"), end, ...tokenizer.encode("Once upon a time")],
  );
  assert.is(bosId, end);
  const written = "<|end|>Hi<|end|>Once upon a time";
  const continued = await answer({ prompt: written, bos: "never" });
  assert.equal([...promptIds], [...continued.promptIds]);
  assert.equal([...ids], [...continued.ids]);
  // The answer alone, with the blank that it begins with inside of a text.
  assert.is(`HiOnce upon a time${text}`, continued.text);
});

test("a conversation goes on with what was said", async () => {
  const first = await answer({ messages: HELLO });
  const messages = [...HELLO, { role: "assistant", content: first.text }, ...HELLO];
  const second = await answer({ messages });
  assert.is(
    model.tokenizer.decode(second.promptIds),
    `<|end|>Hi<|end|>${first.text}Hi<|end|>Once upon a time`,
  );
});

test("the answer ends with a token that ends a turn, as generation_config.json lists it", async () => {
  const { ids } = await answer({ messages: HELLO });
  const end = ids[3];
  const ending = await withTemplate(TEMPLATE, [end]);
  const stopped = await answer({ model: ending, messages: HELLO });
  assert.is(stopped.stoppedBy, "end of text");
  assert.equal([...stopped.ids], [...ids.subarray(0, ids.indexOf(end) + 1)]);
  await ending.close();
});

test("what cannot be answered is refused in one sentence", async () => {
  const plain = await withTemplate(undefined);
  const strict = await withTemplate("{{ raise_exception('No system role') }}");
  const silent = await withTemplate("{{ nobody }}");
  const cases: readonly (readonly [Partial<GenerateOptions>, RegExp])[] = [
    [{}, /^\[generate\] prompt is missing; give the text to continue, or messages to answer\./],
    [
      { prompt: "a", messages: HELLO },
      /^\[generate\] prompt and messages exclude one another; give/,
    ],
    [{ messages: HELLO, bos: "never" }, /^\[bos\] it is "never", but before messages the chat/],
    [
      { messages: [] },
      /^\[generate\] messages is .*, must be a list of messages, each with a role/,
    ],
    [{ messages: [{ role: "user" }] as never }, /must be a list of messages, each with a role/],
    [
      { model: plain, messages: HELLO },
      /^\[model\] it has no chat template, .+; give a prompt for/,
    ],
    [{ model: strict, messages: HELLO }, /refuses these messages: "No system role"; give messages/],
    [
      { model: silent, messages: HELLO },
      /its chat template writes nothing for these messages; fetch/,
    ],
    [
      { messages: [{ role: "user", content: " ball".repeat(300) }] },
      /^\[messages\] it has \d+ tokens, which fills the model's context of 256; shorten it/,
    ],
  ];
  for (const [options, message] of cases) await refused(() => answer(options), message);
  await silent.close();
  await plain.close();
  await strict.close();
  await model.close();
});

test.run();
