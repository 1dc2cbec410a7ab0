/** What can be asked of GGUF files, whichever call writes them. */
import { type Arguments, TEXT } from "../arguments.js";
import { PenjingError } from "../errors.js";

/** What the layout is called: no layout of a folder's weights, but another kind of file. */
export const GGUF = "gguf";

export interface GgufOptions {
  /**
   * Type of the linears in a GGUF file: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K, or
   * one of llama.cpp's mixtures Q4_K_M and Q4_K_S, in which some linears have more bits than Q4_K. Vectors
   * are F32. Matrices whose rows are no whole blocks of 256 have Q5_0, Q5_1 and Q8_0 in the place of the K
   * types, and those whose rows are none of 32 stay F16. Weights that a quantizer put on a grid that the
   * type has keep their codes; others are quantized, by llama.cpp's plain rules but for the K types. What
   * `compress` quantizes for a file of K types is put on their grids to begin with.
   *
   * @default for each weight on a grid the smallest type that keeps its codes, and else its dtype
   */
  readonly ggufType?: string | undefined;
  /**
   * Type of embedding and head there, no mixture.
   *
   * @default for those on a grid as above; beside K types Q6_K for the head, and for an embedding that is
   *   none the type of most linears; Q8_0 beside others that are quantized, else as these
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
export function refuseStray(
  options: GgufOptions & { readonly imatrix?: unknown; readonly ggufRecord?: unknown },
  layout: string | undefined,
): void {
  if (layout === GGUF) return;
  for (const name of [
    ...(Object.keys(GGUF_ARGUMENTS) as (keyof GgufOptions)[]),
    "imatrix",
    "ggufRecord",
  ] as const) {
    if (options[name] === undefined) continue;
    throw new PenjingError(
      name,
      `it is about GGUF files, but the layout is ${layout ?? "the model's own"}; give \`layout: "gguf"\` too, or leave it out.`,
    );
  }
}
