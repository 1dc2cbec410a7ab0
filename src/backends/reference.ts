import type { Backend, Operations } from "../backend.js";
import { formOperations } from "./forms.js";
import { HostBackend } from "./host.js";
import { HeapStorage } from "./memory.js";
import type { FormOperations } from "./operations/form.js";
import { formKernels } from "./reference/form.js";
import * as operations from "./reference/index.js";
import { joinOperations } from "./table.js";

/**
 * Every operation in plain TypeScript with float64 accumulation, written to be read. They work on
 * any host tensor, so other backends take those that they have nothing faster for.
 */
export const referenceOperations: Omit<Operations, keyof FormOperations> = operations;

/** Opens the reference backend: slow, exact to float32 storage, available everywhere. */
export async function openReference(): Promise<Backend> {
  const backend: Backend = new HostBackend(
    "reference",
    new HeapStorage(),
    joinOperations([
      {
        name: "reference",
        operations: { ...referenceOperations, ...formOperations(formKernels, () => backend) },
      },
    ]),
  );
  return backend;
}
