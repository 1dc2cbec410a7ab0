import type { Backend, Operations } from "../backend.js";
import { formOperations } from "./forms.js";
import { HostBackend } from "./host.js";
import { HeapStorage } from "./memory.js";
import type { FormOperations } from "./operations/form.js";
import * as armor from "./reference/armor.js";
import * as attention from "./reference/attention.js";
import * as blockDiagonal from "./reference/block-diagonal.js";
import * as cholesky from "./reference/cholesky.js";
import * as convert from "./reference/convert.js";
import * as coreSweep from "./reference/core-sweep.js";
import * as elementwise from "./reference/elementwise.js";
import * as entropy from "./reference/entropy.js";
import { formKernels } from "./reference/form.js";
import * as gemm from "./reference/gemm.js";
import * as hessian from "./reference/hessian.js";
import * as mask from "./reference/mask.js";
import * as norm from "./reference/norm.js";
import * as orthogonal from "./reference/orthogonal.js";
import * as removed from "./reference/removed.js";
import * as rope from "./reference/rope.js";
import * as scale from "./reference/scale.js";
import * as softmax from "./reference/softmax.js";
import * as sparsegpt from "./reference/sparsegpt.js";
import * as transpose from "./reference/transpose.js";
import * as twoFour from "./reference/two-four.js";
import { joinOperations } from "./table.js";

/**
 * Every operation in plain TypeScript with float64 accumulation, written to be read. They work on
 * any host tensor, so other host backends start from them and override what they do faster.
 */
export const referenceOperations: Omit<Operations, keyof FormOperations> = {
  ...armor,
  ...attention,
  ...blockDiagonal,
  ...cholesky,
  ...convert,
  ...coreSweep,
  ...elementwise,
  ...entropy,
  ...gemm,
  ...hessian,
  ...mask,
  ...norm,
  ...orthogonal,
  ...removed,
  ...rope,
  ...scale,
  ...softmax,
  ...sparsegpt,
  ...transpose,
  ...twoFour,
};

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
