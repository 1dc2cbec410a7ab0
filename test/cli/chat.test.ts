import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import { copyModel, fails, MODEL, PROGRAM, penjing, scratch } from "./program.js";

const test = suite("chat by the command line");
const folder = scratch(test);
const QUICK = ["--max-new-tokens", "6", "--quiet"] as const;

/** The embedded model with a template that writes messages one after the other. */
const chatty = copyModel(folder, "chatty");
const config = join(chatty, "tokenizer_config.json");
const chat_template = "{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}Tom saw";
writeFileSync(
  config,
  JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), chat_template }),
);

function fed(input: string, ...args: readonly string[]) {
  return spawnSync(process.execPath, [PROGRAM, ...args], { input, encoding: "utf8" });
}

test("--chat answers the prompt, which may come from a pipe, and prints the answer alone", async () => {
  const asked = await penjing(["generate", chatty, "A ball.", "--chat", ...QUICK]);
  const plain = await penjing(["generate", MODEL, "A ball.\nTom saw", ...QUICK]);
  assert.is(asked.code, 0, asked.stderr);
  assert.is(`A ball.\nTom saw${asked.stdout}`, plain.stdout);
  for (const more of [["-"], []]) {
    const { stdout } = fed("A ball.\n", "generate", chatty, ...more, "--chat", ...QUICK);
    assert.is(stdout, asked.stdout);
  }
  const system = await penjing([
    "generate",
    chatty,
    "A ball.",
    "--chat",
    "--system",
    "Hi.",
    "--json",
    ...QUICK,
  ]);
  const { promptIds, text } = JSON.parse(system.stdout);
  const longer = await penjing(["generate", MODEL, "Hi.\nA ball.\nTom saw", "--json", ...QUICK]);
  assert.equal(promptIds, JSON.parse(longer.stdout).promptIds);
  assert.is(`Hi.\nA ball.\nTom saw${text}`, JSON.parse(longer.stdout).text);
});

skipUnless(
  test,
  spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0,
  "script, which makes a terminal, is not there",
  "on a terminal it is a conversation, each line with what was said before",
  async () => {
    const program = [process.execPath, PROGRAM, "generate", chatty, "--chat", ...QUICK].join(" ");
    const { stdout } = spawnSync("script", ["-qec", program, "/dev/null"], {
      // What does not fit is told, and was not said.
      input: `A ball.\n${"A ball. ".repeat(200)}\nA tree.\n`,
      encoding: "utf8",
    });
    const ask = async (prompt: string) =>
      (await penjing(["generate", chatty, prompt, "--chat", ...QUICK])).stdout.trimEnd();
    const first = await ask("A ball.");
    const second = await ask(`A ball.\n${first}\nA tree.`);
    const told = stdout.replaceAll("\r", "");
    assert.ok(told.includes(`${first}\n`), told);
    assert.match(told, /penjing: \[.*\] .*256/);
    assert.ok(told.slice(told.indexOf(first) + first.length).includes(`${second}\n`), told);
  },
);

test("what cannot chat says what to do", async () => {
  await fails(
    ["generate", MODEL, "Hi", "--chat"],
    /^penjing: \[.*stories-1m\] it has no chat template, so it was not trained to .+; give a prompt/,
    folder,
  );
  await fails(
    ["generate", MODEL, "Hi", "--system", "Short."],
    /^penjing: \[--system\] it is the first message of a chat; give --chat with it\.\n$/,
    folder,
  );
});

test.run();
