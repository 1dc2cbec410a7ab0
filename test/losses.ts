import type { RunningModel } from "../src/models/open.js";
import type { Work } from "../src/steps.js";

/** The negative log-likelihood of each token but the first. */
export async function losses(model: RunningModel, ids: Int32Array): Promise<Float32Array> {
  const { backend, decoder, spec } = model;
  const count = ids.length - 1;
  const logits = backend.zeros([count, spec.vocabSize]);
  const targets = backend.zeros([count, 1], "i32");
  const found = backend.zeros([count, 1]);
  try {
    await decoder.pace(
      (function* (): Work {
        yield* decoder.forward(ids);
        backend.write(targets, ids.slice(1));
        yield* decoder.project(0, logits);
        backend.ops.crossEntropy(logits, targets, found);
      })(),
      undefined,
    );
    return (await backend.read(found)) as Float32Array;
  } finally {
    for (const tensor of [logits, targets, found]) tensor.dispose();
  }
}
