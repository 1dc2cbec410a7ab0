/** What can be asked of GGUF files, whichever call writes them. */
import { type Arguments, TEXT } from "../arguments.js";
import { PenjingError } from "../errors.js";

/** What the layout is called: no layout of a folder's weights, but another kind of file. */
export const GGUF = "gguf";

export interface GgufOptions {
  /**
   * Type of the linears in a GGUF file: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1. Vectors are F32,
   * and matrices whose rows are no whole blocks of 32 stay F16. Weights that a quantizer put on a grid
   * that the type has keep their codes; others are quantized by llama.cpp's plain rules.
   *
   * @default for each weight on a grid the smallest type that keeps its codes, and else its dtype
   */
  readonly ggufType?: string | undefined;
  /**
   * Type of embedding and head there.
   *
   * @default for those on a grid as above; else Q8_0 where linears are quantized, or as these
   */
  readonly ggufEmbedding?: string | undefined;
  /** llama.cpp's name of the pre-tokenizer. @default the one that fits tokenizer.json */
  readonly ggufPre?: string | undefined;
}

export const GGUF_ARGUMENTS: Arguments<GgufOptions> = {
  ggufType: TEXT,
  ggufEmbedding: TEXT,
  ggufPre: TEXT,
};

/**
 * @param layout that is written; undefined for the model's own
 * @throws PenjingError for options of GGUF files where another layout is written
 */
export function refuseStray(options: GgufOptions, layout: string | undefined): void {
  if (layout === GGUF) return;
  for (const name of Object.keys(GGUF_ARGUMENTS) as (keyof GgufOptions)[]) {
    if (options[name] === undefined) continue;
    throw new PenjingError(
      name,
      `it is about GGUF files, but the layout is ${layout ?? "the model's own"}; give \`layout: "gguf"\` too, or leave it out.`,
    );
  }
}
