import type { Backend } from "../backend.js";
import type { Work } from "../steps.js";

/** Operations on up to so many rows are little work each. */
const FEW_ROWS = 8;

/** Steps through rows of so many; operations of few need not run one by one. */
export function* deferring(backend: Backend, rows: number, steps: Work): Work {
  if (rows > FEW_ROWS || !backend.defer) {
    yield* steps;
    return;
  }
  backend.defer(true);
  try {
    yield* steps;
  } finally {
    backend.defer(false);
  }
}
