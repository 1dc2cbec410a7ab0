import type { RunReport, ScoreReport } from "../../src/compress/run-report.js";
import { type Folder, memoryFolder } from "../../src/platform/files.js";

const LINEARS = [
  ...["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
  ...["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
];
const GROUPS = [LINEARS.slice(0, 3), LINEARS.slice(3, 4), LINEARS.slice(4, 6), LINEARS.slice(6)];
const LAYER_BYTES = 2 * 8192 * 8192;

/** A number in (0, 1) that depends on a whole one. */
function noise(i: number): number {
  return 0.5 + 0.49 * Math.sin(12.9898 * i + 78.233);
}

function score(perplexity: number, windows: number): ScoreReport {
  const nll = Math.log(perplexity);
  return {
    perplexity,
    windowNll: Array.from({ length: windows }, (_, i) => nll + 0.4 * (noise(i) - 0.5)),
    windows,
    window: 2048,
    textSha256: "ab".repeat(32),
  };
}

export interface Made {
  readonly side: Record<string, unknown>;
  readonly report: RunReport;
}

/** What the two files of a result say of a model that never was. */
export function madeResult(blocks: number, perplexity?: number): Made {
  const all = Array.from({ length: blocks }, (_, block) => block);
  const layers = all.flatMap((block) =>
    LINEARS.map((linear, i) => ({
      name: `model.layers.${block}.${linear}`,
      method: "sparsegpt",
      sparsity: "2:4",
      shape: [8192, 8192],
      removed: 0.5,
      layerError: 10 ** (-3 + 2 * noise(7 * block + i)),
      figures: { predictedLoss: 1234.5678 },
      notes: [],
    })),
  );
  const totals = {
    layerBytesBefore: layers.length * LAYER_BYTES,
    layerBytesAfter: (layers.length * LAYER_BYTES * 9) / 16,
    bytesBefore: (layers.length + 2) * LAYER_BYTES,
    bytesAfter: ((layers.length * 9) / 16 + 2) * LAYER_BYTES,
    removed: 0.5,
  };
  const step = { prune: { method: "sparsegpt", sparsity: "2:4", anchor: 0.5 }, ignore: [] };
  return {
    side: {
      penjing: "0.1.0",
      model: { family: "llama", layers: blocks, hiddenSize: 8192, vocabSize: 128_256 },
      recipe: { version: 2, layout: "two-four", steps: [step] },
      layers,
      totals,
    },
    report: {
      version: 2,
      penjing: "0.1.0",
      run: { runtime: "Node.js 22.14.0", os: "linux x64", backend: "wasm", how: "relaxed SIMD" },
      seconds: 9000,
      peakTensorBytes: 6e9,
      writeSeconds: 40,
      blocks: all.map((block) => ({
        block,
        seconds: 100 + 5 * noise(block),
        phases: ["calibrate", "rotate", "prune", "advance"].map((phase, i) => {
          return { phase, seconds: 20 + noise(4 * block + i) };
        }),
        ...(block + 1 < blocks && { residualError: 0.01 * (1 + block * noise(block)) }),
        rotations: [
          {
            concentrations: GROUPS.map((linears, i) => {
              const before = 0.12 + 0.02 * noise(block + i);
              return { linears, loss: "removed", before, after: before * noise(3 * block + i) };
            }),
            curve: [3, 2, 1],
          },
        ],
      })),
      layers: layers.map(({ name }) => {
        return { name, bytesBefore: LAYER_BYTES, bytesAfter: (LAYER_BYTES * 9) / 16 };
      }),
      parts: ["embedding", "head", "attention", "mlp"].map((part, i) => {
        const bytesBefore = i < 2 ? LAYER_BYTES : (i + 1) * blocks * LAYER_BYTES;
        return { part, bytesBefore, bytesAfter: i < 2 ? bytesBefore : (bytesBefore * 9) / 16 };
      }),
      served: [],
      ...(perplexity !== undefined && {
        evaluation: {
          before: score(5.47, 140),
          after: { ...score(perplexity, 140), against: { kl: 0.12, agreement: 0.84 } },
        },
      }),
    },
  };
}

/** A folder with these two files, as far as they are there. */
export function folderOf(
  { side, report }: { side?: unknown; report?: unknown },
  path = "out",
): Folder {
  return memoryFolder(
    {
      ...(side !== undefined && { "penjing.json": JSON.stringify(side) }),
      ...(report !== undefined && { "penjing-report.json": JSON.stringify(report) }),
    },
    path,
  );
}
