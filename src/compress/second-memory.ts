/** Whether a block with its statistics is beyond one memory of the backend. */
import type { Backend } from "../backend.js";
import { sitesOf } from "../model.js";
import type { CountTerms } from "./plan/counter.js";
import type { PreparedRun } from "./prepare.js";

/** Bytes, more than there ever are, of what is held for a weight and for a value of a Hessian. */
const WIDEST = 16;

/**
 * Whether the statistics of the widest inputs are to have a memory of their own, and what reads them is to be
 * solved there: where that makes room for the blocks of a run. All bits are the same either way.
 */
export async function needsSecondMemory(
  run: PreparedRun,
  { mostBytes, another }: Backend,
  terms: Omit<CountTerms, "most">,
): Promise<boolean> {
  if (mostBytes === undefined || !another) return false;
  const { blocks } = run.sources.model.spec;
  const values = Math.max(
    ...blocks.map((block) =>
      sitesOf(block).reduce((sum, { name, input, shape: [rows, cols] }) => {
        return sum + rows * cols + (name === input ? cols ** 2 : 0);
      }, 0),
    ),
  );
  if (WIDEST * values <= mostBytes) return false;
  const { needsSecond } = await import("./plan/counter.js");
  return needsSecond(run, { ...terms, most: mostBytes });
}
