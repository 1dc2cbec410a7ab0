import { askProgram } from "../../oracles/oracles.js";

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
  const answers = askProgram(questions, "checkpoint", "tokenizer", "oracle.py");
  return answers as ReturnType<typeof askLibrary>;
}
