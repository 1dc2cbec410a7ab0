import type { Backend } from "../../src/backend.js";
import type { RotationOutcome } from "../../src/rotation.js";
import { orthogonalityError } from "./random.js";

export async function floats(
  backend: Backend,
  tensor: { readonly size: number },
): Promise<Float32Array> {
  return (await backend.read(tensor as Parameters<Backend["read"]>[0])) as Float32Array;
}

export async function worstOrthogonality(
  backend: Backend,
  { q, r2 }: RotationOutcome,
): Promise<number> {
  let worst = q ? orthogonalityError(await floats(backend, q), q.shape[0]) : 0;
  for (const heads of r2) {
    const [rows, n] = heads.shape;
    const data = await floats(backend, heads);
    for (let row = 0; row < rows; row += n) {
      worst = Math.max(worst, orthogonalityError(data.subarray(row * n, (row + n) * n), n));
    }
  }
  return worst;
}

/** What a promise is rejected with. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return String(error);
  }
  return "nothing was refused";
}

export function disposeOutcome({ q, r2 }: RotationOutcome): void {
  for (const tensor of [q, ...r2]) tensor?.dispose();
}
