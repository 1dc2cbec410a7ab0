import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ChatMessage,
  loadChatTemplate,
  requireChatTemplate,
} from "../../src/checkpoint/chat-template.js";
import { formatTime } from "../../src/checkpoint/jinja.js";
import { memoryFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";
import { refused } from "./crafted.js";

const test = suite("chat template");

interface Golden {
  readonly conversations: Readonly<
    Record<string, { messages: readonly ChatMessage[]; addGenerationPrompt: boolean }>
  >;
  readonly templates: readonly {
    readonly name: string;
    readonly template: string;
    readonly bos_token?: string;
    readonly eos_token?: string;
    readonly expected: Readonly<Record<string, string | { readonly raises: string }>>;
  }[];
}

/** What transformers makes of published templates; the file says how. */
const GOLDEN: Golden = JSON.parse(
  readFileSync(join(repositoryRoot, "test", "checkpoint", "chat-templates.json"), "utf8"),
);
const HELLO: readonly ChatMessage[] = [{ role: "user", content: "Hello" }];

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** A folder of files, objects written as JSON. */
function folderOf(files: Readonly<Record<string, object | string>>) {
  const texts = Object.entries(files).map(([name, value]) => [
    name,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  return memoryFolder(Object.fromEntries(texts), "model");
}

async function render(template: string, messages = HELLO): Promise<string> {
  return (await requireChatTemplate(folderOf({ "chat_template.jinja": template }))).render(
    messages,
  );
}

for (const { name, template, expected, ...tokens } of GOLDEN.templates) {
  test(`${name}: the texts of transformers`, async () => {
    const config = { ...tokens, chat_template: template, add_bos_token: true };
    const read = await requireChatTemplate(folderOf({ "tokenizer_config.json": config }));
    for (const [which, { messages, ...options }] of Object.entries(GOLDEN.conversations)) {
      const wanted = expected[which];
      if (typeof wanted === "string") {
        assert.is(read.render(messages, options), wanted, `${name}, ${which}`);
        continue;
      }
      await refused(
        async () => read.render(messages, options),
        new RegExp(`refuses these messages: "${escaped(wanted.raises)}"; give messages`),
      );
    }
  });
}

test("a template is found wherever models keep it", async () => {
  const named = (...names: string[]) =>
    names.map((name) => ({ name, template: `${name} {{ eos_token }}` }));
  const old = { eos_token: { content: "</s>", lstrip: false } };
  const places: readonly (readonly [Record<string, object | string>, string])[] = [
    [{ "tokenizer_config.json": { chat_template: named("tool_use", "default") } }, "default "],
    [
      {
        "chat_template.jinja": "file {{ eos_token }}",
        "tokenizer_config.json": { chat_template: "config", eos_token: "<end>" },
        "special_tokens_map.json": old,
      },
      "file <end>",
    ],
    [{ "chat_template.json": { chat_template: "older" }, "tokenizer_config.json": {} }, "older"],
    [
      {
        "tokenizer_config.json": { chat_template: "{{ eos_token }}" },
        "special_tokens_map.json": old,
      },
      "</s>",
    ],
  ];
  for (const [files, wanted] of places) {
    assert.is((await requireChatTemplate(folderOf(files))).render(HELLO), wanted);
  }
  for (const chat_template of [null, undefined]) {
    const files = { "tokenizer_config.json": { chat_template } };
    assert.is(await loadChatTemplate(folderOf(files)), undefined);
  }
  assert.is(await loadChatTemplate(folderOf({})), undefined);
});

test("what is no template is refused in one sentence", async () => {
  const bad: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /^\[model\] it has no chat template, .+; give a prompt for it to continue, or put/],
    [
      7,
      /^\[model\/tokenizer_config\.json\] its chat_template must be a text or a list .+ found 7;/,
    ],
    [
      [{ name: "rag", template: "" }],
      /its chat templates \("rag"\) lack one named "default"; name/,
    ],
    ["{% for m in messages %}", /is not a Jinja template that can be read \(.+\); fetch the file/],
    ["{{ 'open }}", /is not a Jinja template that can be read/],
    [`${"{{ (".repeat(20000)}`, /is not a Jinja template that can be read/],
    ["x".repeat(1_000_001), /its chat template has 1000001 characters, the most is 1000000;/],
  ];
  for (const [chat_template, message] of bad) {
    const folder = folderOf({ "tokenizer_config.json": { chat_template } });
    await refused(() => requireChatTemplate(folder), message);
  }
});

test("a template that fails or does not end is stopped with one sentence", async () => {
  const loop = (times: number, body: string) => `{% for i in range(${times}) %}${body}{% endfor %}`;
  const bad: readonly (readonly [string, RegExp])[] = [
    ["{{ raise_exception('No \\u001b[31mway') }}", /refuses these messages: "No \\u001b\[31mway";/],
    [
      "{{ messages + 1 }}",
      /its chat template fails on these messages \(.+\); fetch the file again/,
    ],
    [loop(1e9, ""), /was stopped: it takes a range of 1000000000, more than the 100000 allowed;/],
    [loop(1e5, loop(1e5, "")), /was stopped: it takes more than 500000 steps; give shorter/],
    [`{% set n = namespace(x='ab') %}${loop(60, "{% set n.x = n.x ~ n.x %}")}`, /a text or a list/],
    [`{% set n = namespace(x=[1]) %}${loop(60, "{% set n.x = n.x + n.x %}")}`, /a text or a list/],
    [
      `{% set n = namespace(x=[1]) %}${loop(60, "{% set n.x = [n.x, n.x] %}")}{{ n.x }}`,
      /a text or a list/,
    ],
    [
      `{% set n = namespace(x={'a': 1}) %}${loop(60, "{% set n.x = {'a': n.x, 'b': n.x} %}")}{{ n.x|tojson }}`,
      /a text or a list/,
    ],
    [
      `{% set n = namespace(x='a') %}${loop(23, "{% set n.x = n.x ~ n.x %}")}${loop(1e5, "{{ 'b' in n.x }}")}`,
      /was stopped: it takes more than 5 seconds; give shorter messages/,
    ],
    [
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      /was stopped: its parts stand more than 400 deep/,
    ],
  ];
  for (const [template, message] of bad) {
    const started = performance.now();
    await refused(() => render(template), message);
    const ms = performance.now() - started;
    assert.ok(ms < 10_000, `${template.slice(0, 60)} took ${Math.round(ms)} ms`);
  }
});

test("a long conversation stays within the bounds", async () => {
  const { template } = GOLDEN.templates.find(({ name }) => name === "Qwen 3")!;
  const turns = Array.from({ length: 2000 }, (_, i) => ({
    role: i % 2 ? "assistant" : "user",
    content: "word ".repeat(200),
  }));
  const text = await render(template, turns);
  assert.is(text.split("<|im_end|>").length - 1, turns.length);
});

test("dates are English, in Python's formats", () => {
  const time = new Date(2025, 1, 3, 15, 4, 5);
  assert.is(
    formatTime(time, "%d %b %Y|%B %d, %Y|%Y-%m-%d|%A %a|%H:%M:%S|%I:%M %p|%y %%|%Q"),
    "03 Feb 2025|February 03, 2025|2025-02-03|Monday Mon|15:04:05|03:04 PM|25 %|%Q",
  );
});

test.run();
