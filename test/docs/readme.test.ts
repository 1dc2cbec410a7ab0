// What README.md shows of the command line is what it prints.
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { penjing, scratch } from "../cli/program.js";
import { repositoryRoot } from "../shared.js";
import { yardstickPath, yardstickTest } from "../yardstick.js";

const test = suite("readme");
const folder = scratch(test);
symlinkSync(join(repositoryRoot, "examples"), join(folder, "examples"));
const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");

/** A command and what is printed after it. */
interface Shown {
  readonly args: readonly string[];
  readonly printed: string;
}

/** The commands of a document that show what they print: blocks whose first line begins with "$ ". */
function transcripts(text: string): Shown[] {
  const blocks = [...text.matchAll(/^```\n(\$ [\s\S]*?)^```$/gm)].map(([, block]) => block);
  return blocks.flatMap((block) =>
    block.split(/^\$ npx penjing /m).flatMap((part) => {
      const [, command, printed] = /^((?:.*\\\n)*.*)\n([\s\S]*)$/.exec(part) ?? [];
      if (!command) return [];
      const words = command.replaceAll("\\\n", " ").matchAll(/"([^"]*)"|(\S+)/g);
      return [{ args: [...words].map(([, quoted, bare]) => quoted ?? bare), printed }];
    }),
  );
}

/** Lines without the parts that differ from run to run, and spaces as one. */
function comparable(text: string): string {
  return text
    .replaceAll(/\b(in|which) (under 1 s|\d+ s|\d+ min)/g, "$1 TIME")
    .replaceAll(/\s+/g, " ")
    .trim();
}

/** Holds two texts against each other; numbers may differ by what rounding on other machines does. */
function same(found: string, expected: string, label: string): void {
  const split = (text: string) => comparable(text).split(/(\d+\.\d+)/);
  const [a, b] = [split(found), split(expected)];
  assert.is(a.length, b.length, `${label}\n${found}`);
  for (const [i, part] of b.entries()) {
    if (i % 2 === 0 || a[i] === part) assert.is(a[i], part, label);
    else assert.ok(Math.abs(Number(a[i]) / Number(part) - 1) < 0.02, `${label}: ${a[i]}, ${part}`);
  }
}

/** The transcripts of a model that is not in the repository. */
const SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
const isOfSmolLM2 = ({ args }: Shown) => args.includes(SMOLLM2);

test("its transcripts are what the commands print", async () => {
  const shown = transcripts(readme).filter((one) => !isOfSmolLM2(one));
  assert.equal(
    shown.map(({ args }) => args[0]),
    ["compress", "generate", "export", "export", "compress"],
  );
  await compare(shown);
});

yardstickTest(test, "its transcripts of a GGUF file are what the commands print", async () => {
  symlinkSync(yardstickPath("smollm2.q4_1.gguf"), join(folder, SMOLLM2));
  const shown = transcripts(readme).filter(isOfSmolLM2);
  assert.equal(
    shown.map(({ args }) => args[0]),
    ["inspect", "generate"],
  );
  await compare(shown);
});

async function compare(shown: readonly Shown[]): Promise<void> {
  for (const { args, printed } of shown) {
    const { code, stdout, stderr } = await penjing([...args], { cwd: folder });
    assert.is(code, 0, stderr);
    const parts = printed.split(/^\.\.\.\n/m);
    const label = args.join(" ");
    if (parts.length === 1) {
      same(stdout, printed, label);
      continue;
    }
    const [head, tail] = parts.map((part) => part.trimEnd().split("\n"));
    const lines = stdout.trimEnd().split("\n");
    same(lines.slice(0, head.length).join("\n"), head.join("\n"), label);
    same(lines.slice(-tail.length).join("\n"), tail.join("\n"), label);
  }
}

test("it says one thing of threads", () => {
  assert.match(readme, /one thread for each core/);
  assert.not.match(readme, /one CPU thread/);
});

test.run();
