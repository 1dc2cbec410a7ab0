import type { Backend } from "../backend.js";
import type { Parametrisation, RotationLoss } from "../rotation.js";
import type { Tensor } from "../tensor.js";
import { type OrthogonalParameter, QrParameter, RiemannianParameter } from "./parameter.js";

/** Steps over which the learning rate rises. */
const WARM_UP = 4;

/** Length of a step of Adam, times sqrt(n): what a step turns by. */
const ANGLES: Readonly<Record<RotationLoss, number>> = {
  // What a pattern removes has many more local minima than the others, and long steps pass over them.
  removed: 1.6,
  entropy: 0.4,
  rounding: 0.4,
};

/** How each parametrisation steps; figures in test/bench/rotation.ts. */
export const WAYS: Readonly<
  Record<
    Parametrisation,
    {
      /** Default for a Q of which `n` columns mix. */
      readonly learningRate: (n: number, loss: RotationLoss) => number;
      /** Factor on the learning rate of a step, from 1, when a share in [0, 1) of the work is done. */
      readonly schedule: (step: number, done: number) => number;
      readonly create: (
        backend: Backend,
        value: Tensor,
        signal: AbortSignal | undefined,
      ) => OrthogonalParameter;
    }
  >
> = {
  riemannian: {
    // A step of Adam turns by about its length times sqrt(n), so this keeps the angle.
    learningRate: (n, loss) => ANGLES[loss] / Math.sqrt(n),
    // Adam's first steps are as long for noise as for what matters, so they start small.
    schedule: (step, done) => (Math.min(1, step / WARM_UP) * (1 + Math.cos(Math.PI * done))) / 2,
    create: (...args) => new RiemannianParameter(...args),
  },
  qr: {
    learningRate: () => 0.01,
    schedule: () => 1,
    create: (...args) => new QrParameter(...args),
  },
};
