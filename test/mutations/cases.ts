import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { configs } from "./configs.js";
import { onDisk } from "./disk-folders.js";
import { Draw } from "./draw.js";
import { packed, works } from "./folders.js";
import { ggufs } from "./gguf.js";
import type { Case, Kind } from "./kind.js";
import { recipes } from "./recipes.js";
import { settings, tokenizers } from "./tokenizers.js";
import { indexes, weights } from "./weights.js";

/** What is made: from `PENJING_MUTATIONS=SEED`, or `SEED:NUMBER` for one case alone. */
export const [SEED, ONLY] = (process.env.PENJING_MUTATIONS ?? "1").split(":").map(Number);
export const COUNT = 10_000;

const KINDS: readonly Kind[] = [
  ...[weights, indexes, ggufs, configs, tokenizers, settings, recipes, works, onDisk, packed],
];

/** The kinds of 100 cases, one after another. */
const HUNDRED = KINDS.flatMap((kind) => Array<Kind>(kind.share).fill(kind));

export function kindOf(index: number): Kind {
  return HUNDRED[index % HUNDRED.length];
}

/** The case of this number, the same at every call. */
export function makeCase(seed: number, index: number, backend: Backend): Promise<Case> {
  return kindOf(index).make(new Draw(seed, index), backend);
}

/** A backend whose results are the same everywhere, for models of a few hundred bytes. */
export function openSmall(): Promise<Backend> {
  return openWasm({ threads: 1, simd: "baseline", shape: 0 });
}
