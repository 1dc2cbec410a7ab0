// Draws the pictures of the documents from what the program computes, into docs/pictures.
// Usage: npm run pictures
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import { openWasm } from "../../src/backends/wasm.js";
import { turnColumns, turnRows } from "../../src/rotation/apply.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import { foldedModel } from "../rotation/blocks.js";
import { repositoryRoot } from "../shared.js";
import { drawPage } from "./page-picture.js";
import { drawReport } from "./report-picture.js";
import { svgOf } from "./svg.js";

const FOLDER = join(repositoryRoot, "docs", "pictures");
/** Rows and columns of the matrix that are drawn. */
const DRAWN = 32;
/** Points of the curve. */
const POINTS = 50;

interface Cell {
  readonly when: string;
  readonly row: number;
  readonly column: number;
  /** Share of its row's importance. */
  readonly importance: number;
}

interface Point {
  readonly when: string;
  /** Share of the weights, the most important first. */
  readonly weights: number;
  /** Share of all importance that they hold. */
  readonly importance: number;
}

/** Each weight's share of its row's importance w² h, [rows * cols]. */
function shares(weight: Float32Array, moments: Float32Array): Float64Array {
  const cols = moments.length;
  const scores = Float64Array.from(weight, (w, i) => w * w * moments[i % cols]);
  for (let start = 0; start < scores.length; start += cols) {
    const row = scores.subarray(start, start + cols);
    const sum = row.reduce((total, score) => total + score, 0);
    if (sum > 0) row.set(row.map((score) => score / sum));
  }
  return scores;
}

function cells(when: string, importance: Float64Array, cols: number): Cell[] {
  return Array.from({ length: DRAWN * DRAWN }, (_, i) => {
    const [row, column] = [Math.floor(i / DRAWN), i % DRAWN];
    return { when, row, column, importance: importance[row * cols + column] };
  });
}

function curve(when: string, importance: Float64Array): Point[] {
  const sorted = importance.slice().sort().reverse();
  const total = sorted.reduce((sum, score) => sum + score, 0);
  let held = 0;
  let at = 0;
  return Array.from({ length: POINTS + 1 }, (_, i) => {
    const end = Math.round((i * sorted.length) / POINTS);
    for (; at < end; at++) held += sorted[at];
    return { when, weights: i / POINTS, importance: held / total };
  });
}

/** Importance in a layer of the embedded model before and after its block is rotated. */
async function rotationSpec(): Promise<TopLevelSpec> {
  const backend = await openWasm();
  const { problems } = await foldedModel(backend, "stories-1m", { samples: 64, length: 128 });
  const problem = problems[1];
  const weight = problem.weights["mlp.gate_proj"];
  const hessian = problem.statistics["mlp.gate_proj"]!.tensors.hessian;
  const cols = hessian.shape[0];
  const measure = async () => {
    const w = (await backend.read(weight)) as Float32Array;
    const h = (await backend.read(hessian)) as Float32Array;
    return shares(
      w,
      Float32Array.from({ length: cols }, (_, i) => h[i * cols + i]),
    );
  };
  const before = await measure();
  const { q } = await optimiseRotation(backend, [problem], { objective: "wanda" });
  turnColumns(backend, weight, q!);
  turnColumns(backend, hessian, q!);
  turnRows(backend, hessian, q!);
  const after = await measure();
  backend.dispose();
  const [first, second] = ["as it came", "rotated"];
  const matrix = (when: string): object => ({
    title: { text: when, fontSize: 12 },
    data: { values: cells(when, when === first ? before : after, cols) },
    width: 224,
    height: 224,
    mark: "rect",
    encoding: {
      x: { field: "column", type: "ordinal", axis: null },
      y: { field: "row", type: "ordinal", axis: null },
      color: {
        field: "importance",
        type: "quantitative",
        scale: { type: "pow", exponent: 0.5, scheme: "viridis", domain: [0, 0.1], clamp: true },
        legend: null,
      },
    },
  });
  const lines: object = {
    title: { text: "importance held by the most important weights", fontSize: 12 },
    data: { values: [...curve(first, before), ...curve(second, after)] },
    width: 224,
    height: 224,
    mark: { type: "line", strokeWidth: 2 },
    encoding: {
      x: { field: "weights", type: "quantitative", axis: { format: "%", title: "weights" } },
      y: { field: "importance", type: "quantitative", axis: { format: "%", title: "importance" } },
      color: { field: "when", type: "nominal", legend: { title: null, orient: "bottom-right" } },
    },
  };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    config: { aria: false, view: { stroke: null } },
    hconcat: [matrix(first), matrix(second), lines],
  } as unknown as TopLevelSpec;
}

async function draw(name: string, spec: TopLevelSpec): Promise<void> {
  writeFileSync(join(FOLDER, name), await svgOf(spec));
  console.log(`docs/pictures/${name}`);
}

mkdirSync(FOLDER, { recursive: true });
await draw("rotation.svg", await rotationSpec());
await drawPage(join(FOLDER, "page.png"));
console.log("docs/pictures/page.png");
await drawReport(join(FOLDER, "report.png"));
console.log("docs/pictures/report.png");
