/** Commands that a document shows with what they print. */
import * as assert from "uvu/assert";
import { penjing } from "../cli/program.js";

/** A command and what is printed after it. */
export interface Shown {
  readonly args: readonly string[];
  readonly printed: string;
}

/** The commands of a document that show what they print: blocks whose first line begins with "$ ". */
export function transcripts(text: string): Shown[] {
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
export const SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
export const isOfSmolLM2 = ({ args }: Shown) => args.includes(SMOLLM2);

/** Runs commands in a folder and holds what they print against what is shown. */
export async function compare(shown: readonly Shown[], folder: string): Promise<void> {
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
