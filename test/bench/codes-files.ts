import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compress } from "../../src/compress.js";
import { exportModel } from "../../src/export.js";
import { yardstickPath } from "../yardstick.js";

/** Bits of linears by the type that has them in a GGUF file; the embedding, which is the head too, has 8. */
const TYPES = { Q8_0: 8, Q4_0: 4 };

/** One model as codes, in two files. */
export interface CodesFiles {
  /** The type of its linears in the GGUF file. */
  readonly type: string;
  readonly folder: string;
  /** Its folder in the layout grouped-int, and the file with the same codes, within `folder`. */
  readonly model: string;
  readonly file: string;
}

/** Runs `use` with SmolLM2-135M, quantized by rounding to each type; the files are gone afterwards. */
export async function withCodes(use: (files: CodesFiles) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "penjing-codes-"));
  try {
    for (const [type, bits] of Object.entries(TYPES)) {
      const [model, file] = [type, `${type}.gguf`];
      const quantize = { method: "rtn", weighted: false, bits, groupSize: 32, embeddingBits: 8 };
      const recipe = { version: 2, steps: [{ quantize }] } as const;
      const out = join(folder, model);
      await compress({ model: yardstickPath("smollm2"), out, recipe }).result();
      await exportModel({ model: out, out: join(folder, file), layout: "gguf" }).result();
      await use({ type, folder, model, file });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const SENTENCE =
  "The history of the city begins with a small settlement on the river, where traders from the north";

/** A prompt of a few tokens, or of about 500: another one for each turn, that no cache has. */
export function promptOf(turn: number, isLong: boolean): string {
  const count = isLong ? 23 : 1;
  return Array.from({ length: count }, (_, i) => `${turn}.${i}. ${SENTENCE}`).join(". ");
}
