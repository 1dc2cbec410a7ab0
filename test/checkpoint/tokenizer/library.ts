import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { PYTHON } from "../../oracles/oracles.js";
import { repositoryRoot } from "../../shared.js";

/** What the tokenizers library says of a text. */
export type Answer = readonly [
  ids: readonly number[],
  withSpecialTokens: readonly number[],
  decoded: string,
  withoutSpecialTokens: string,
];

/** A tokenizer.json by its text or its path, and the texts that it shall encode. */
export interface Question {
  readonly definition?: string;
  readonly path?: string;
  readonly texts: readonly string[];
}

/** The library's answers: for each text, or the reason for which it refuses the definition. */
export function askLibrary(questions: readonly Question[]): (readonly Answer[] | string)[] {
  const script = join(repositoryRoot, "test", "checkpoint", "tokenizer", "oracle.py");
  const { status, stdout, stderr } = spawnSync(PYTHON, [script], {
    input: JSON.stringify(questions),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`oracle.py failed: ${stderr}`);
  return JSON.parse(stdout);
}
