import { askProgram } from "../oracles/oracles.js";

/** A file that Python shall read. */
export interface Question {
  readonly kind: "safetensors" | "json";
  readonly bytes: Uint8Array;
}

/** What Python's safetensors and json read, see strict.py; null where they refuse. */
export function askPython(questions: readonly Question[]): readonly ({ read: unknown } | null)[] {
  const input = questions.map(({ kind, bytes }) => ({
    kind,
    bytes: Buffer.from(bytes).toString("base64"),
  }));
  return askProgram(input, "mutations", "strict.py") as ReturnType<typeof askPython>;
}
