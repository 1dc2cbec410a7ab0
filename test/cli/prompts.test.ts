// Prompts of a file, which generate together: generate --prompts.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { copyModel, fails, MODEL, PROGRAM, penjing, scratch } from "./program.js";

const test = suite("prompts by the command line");
const folder = scratch(test);
const LINES = ["Once upon a time", "Tom saw  ", "A ball."];
const QUICK = ["--max-new-tokens", "6"] as const;

const file = join(folder, "prompts.txt");
writeFileSync(file, `${LINES[0]}\r\n\n${LINES[1]}\n   \n${LINES[2]}`);

async function alone(prompt: string, ...more: readonly string[]): Promise<string> {
  return (await penjing(["generate", MODEL, prompt, ...more, "--quiet", ...QUICK])).stdout;
}

test("each line of a text is a prompt, and texts are printed in the order of the lines", async () => {
  const told = await penjing(["generate", MODEL, "--prompts", file, "--batch", "2", ...QUICK]);
  assert.is(told.code, 0, told.stderr);
  const texts = [];
  for (const line of LINES) texts.push(await alone(line));
  assert.is(told.stdout, texts.join("\n"));
  assert.match(
    told.stderr,
    /^18 tokens of 3 prompts at [\d.]+ tokens\/s on wasm; stopped by length \(3\)$/m,
  );
  const args = ["generate", MODEL, "--prompts", "-", "--quiet", ...QUICK];
  const input = readFileSync(file, "utf8");
  const fed = spawnSync(process.execPath, [PROGRAM, ...args], { input, encoding: "utf8" });
  assert.is(fed.stdout, told.stdout);
});

test("the texts of JSON Lines are prompts, --json gives all and --json=lines each once it ends", async () => {
  const lines = join(folder, "prompts.jsonl");
  writeFileSync(lines, LINES.map((begin) => JSON.stringify({ begin })).join("\n"));
  const args = ["generate", MODEL, "--prompts", lines, "--text-column", "begin", ...QUICK];
  const { texts, backend } = JSON.parse((await penjing([...args, "--json"])).stdout);
  assert.is(backend, "wasm");
  for (const [i, { text, ids }] of texts.entries()) {
    assert.is(`${text}\n`, await alone(LINES[i]));
    assert.is(ids.length, 6);
  }
  const told = (await penjing([...args, "--json=lines"])).stdout.trimEnd().split("\n");
  const events = told.map((line) => JSON.parse(line));
  assert.is(events.filter(({ type }) => type === "token").length, 18);
  const ended = events.filter(({ type }) => type === "generated");
  assert.equal(
    ended.map(({ index, text }) => [index, text]),
    texts.map(({ text }: { readonly text: string }, index: number) => [index, text]),
  );
  assert.equal(events.at(-1).texts, texts);
});

test("with --chat each text is a message, and conversations are answered as they are", async () => {
  const chatty = copyModel(folder, "chatty");
  const config = join(chatty, "tokenizer_config.json");
  const chat_template = "{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}Tom saw";
  const given = JSON.parse(readFileSync(config, "utf8"));
  writeFileSync(config, JSON.stringify({ ...given, chat_template }));
  const lines = join(folder, "talks.jsonl");
  const talk = { messages: [{ role: "user", content: "A ball." }] };
  writeFileSync(lines, JSON.stringify(talk));
  const whole = await alone("A ball.\nTom saw");
  const answers = await penjing(["generate", chatty, "--prompts", lines, "--quiet", ...QUICK]);
  assert.is(`A ball.\nTom saw${answers.stdout}`, whole);
  writeFileSync(file, "A ball.\n");
  const asked = ["generate", chatty, "--prompts", file, "--chat", "--quiet", ...QUICK];
  assert.is((await penjing(asked)).stdout, answers.stdout);
  const system = (await penjing([...asked, "--system", "Lily had a cat."])).stdout;
  assert.is(
    `Lily had a cat.\nA ball.\nTom saw${system}`,
    await alone("Lily had a cat.\nA ball.\nTom saw"),
  );
  assert.is.not(system, answers.stdout);
  const opened = ["generate", chatty, "--prompts", lines, "--chat", "--quiet", ...QUICK];
  assert.is((await penjing([...opened, "--system", "Lily had a cat."])).stdout, system);
  const own = [{ role: "system", content: "Lily had a cat." }, ...talk.messages];
  writeFileSync(lines, JSON.stringify({ messages: own }));
  assert.is((await penjing([...opened, "--system", "Other."])).stdout, system);
});

test("prompts that cannot be are refused in one sentence", async () => {
  const empty = join(folder, "empty.txt");
  writeFileSync(empty, "\n \n");
  const long = join(folder, "long.txt");
  writeFileSync(long, `Tom\n${"ball ".repeat(600)}\n`);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["Tom", "--prompts", empty], /\[--prompts\] a prompt was given too; give one of the two\./],
    [["Tom", "--text-column", "a"], /\[--text-column\] it is of a file of prompts; give --prompts/],
    [["Tom", "--batch", "2"], /\[--batch\] it is of a file of prompts; give --prompts with it/],
    [["--prompts", empty], /empty\.txt\] it has no prompts; write each on a line of its own\./],
    [["--prompts", "missing.txt"], /missing\.txt\] /],
    [["--prompts", long], /\[prompt 2 of 2\] it has \d+ tokens, which fills/],
    [["--prompts", long, "--batch", "0"], /\[--batch\] it is 0, must be a whole number/],
  ];
  for (const [args, message] of cases) {
    await fails(["generate", MODEL, ...args, ...QUICK], message, folder);
  }
});

test.run();
