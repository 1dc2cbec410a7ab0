import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { PYTHON } from "../oracles/oracles.js";
import { repositoryRoot } from "../shared.js";

/** A file that Python shall read. */
export interface Question {
  readonly kind: "safetensors" | "json";
  readonly bytes: Uint8Array;
}

/** What Python's safetensors and json read, see strict.py; null where they refuse. */
export function askPython(questions: readonly Question[]): readonly ({ read: unknown } | null)[] {
  const script = join(repositoryRoot, "test", "mutations", "strict.py");
  const input = questions.map(({ kind, bytes }) => ({
    kind,
    bytes: Buffer.from(bytes).toString("base64"),
  }));
  const { status, stdout, stderr } = spawnSync(PYTHON, [script], {
    input: JSON.stringify(input),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`strict.py failed: ${stderr}`);
  return JSON.parse(stdout);
}
