/** Operations that have no shader: the reference computes them on copies. */
import type { Backend, Operations } from "../../backend.js";
import type { HostTensor, Tensor } from "../../tensor.js";
import { referenceOperations } from "../reference.js";

/** Why the reference serves them. */
export const WITHOUT_SHADER = "webgpu has no shader for it";

const NAMES = [
  "fitScales",
  "fromGrid",
  "gridSweep",
  "orderColumns",
  "refineGrid",
  "roundingColumns",
  "roundingRows",
  "roundHeads",
  "roundedAttention",
] as const satisfies readonly (keyof Operations)[];

type AnyOperation = (...args: readonly unknown[]) => Promise<unknown>;

function isTensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && "dtype" in value && "shape" in value;
}

/** The same arguments with copies on the host in the place of tensors, those in mappings too. */
async function copied(
  backend: Backend,
  args: readonly unknown[],
  copies: Map<Tensor, HostTensor>,
): Promise<unknown[]> {
  const copy = async (value: unknown): Promise<unknown> => {
    if (!isTensor(value)) return value;
    const { dtype, shape, size } = value;
    const data = await backend.read(value);
    const made = { dtype, shape, size, data, dispose() {}, [Symbol.dispose]() {} };
    copies.set(value, made);
    return made;
  };
  const out: unknown[] = [];
  for (const arg of args) {
    const isMapping = typeof arg === "object" && arg !== null && !isTensor(arg);
    if (!isMapping) {
      out.push(await copy(arg));
      continue;
    }
    const entries: [string, unknown][] = [];
    for (const [key, value] of Object.entries(arg)) entries.push([key, await copy(value)]);
    out.push(Object.fromEntries(entries));
  }
  return out;
}

/** @param backend the one whose tensors they are given, once it is open */
export function onHost(backend: () => Backend): Partial<Operations> {
  const operations = NAMES.map((name) => {
    const run = async (...args: readonly unknown[]) => {
      const copies = new Map<Tensor, HostTensor>();
      const onHost = await copied(backend(), args, copies);
      const result = await (referenceOperations[name] as AnyOperation)(...onHost);
      for (const [tensor, { data }] of copies) backend().write(tensor, data);
      return result;
    };
    return [name, run] as const;
  });
  return Object.fromEntries(operations);
}
