import { sum } from "d3-array";
import { fewBitsNote } from "../compress/few-bits.js";
import {
  bytesText,
  decimal,
  percentText,
  perplexityText,
  secondsText,
  significant,
} from "./numbers.js";
import type { Layer, Result } from "./result.js";
import { NONE, type Table } from "./table.js";

/** Mean bits of the weights that were quantized. */
function bitsOf({ layers }: Result): string {
  const own = layers.filter(
    ({ bitsPerWeight, bytesAfter }) => bitsPerWeight !== undefined && bytesAfter !== undefined,
  );
  const bits = sum(own, ({ bytesAfter }) => 8 * bytesAfter!);
  const weights = sum(own, sizeOf);
  return weights > 0 ? decimal(bits / weights) : NONE;
}

/** The dense grids that 2:4 weights on a grid are to be held against. */
function peersOf({ layers }: Result): string {
  const peers = new Set(layers.flatMap(({ peer }) => peer ?? []));
  return peers.size > 0 ? [...peers].join(", ") : NONE;
}

/** How many weights a quantized layer has; 0 where that is not known. */
function sizeOf({ bytesAfter = 0, bitsPerWeight = Number.POSITIVE_INFINITY }: Layer): number {
  return (8 * bytesAfter) / bitsPerWeight;
}

/** What is said of very few bits. */
function fewBitsOf({ layers }: Result): string {
  return fewBitsNote(layers.map((layer) => ({ ...layer, size: sizeOf(layer) }))) ?? NONE;
}

/** What is told of each result, in order. */
const ROWS: readonly (readonly [name: string, text: (result: Result) => string])[] = [
  [
    "model",
    ({ model }) =>
      `${model.family}, ${model.layers} blocks, ${model.hiddenSize} wide, ${model.vocabSize} tokens`,
  ],
  ["done", ({ steps }) => steps.join("; ")],
  ["layout", ({ layout }) => layout],
  ["layers", ({ layers }) => String(layers.length)],
  ["weights removed (%)", ({ totals }) => percentText(totals.removed)],
  ["bits a quantized weight", bitsOf],
  ["compare at as many bits", peersOf],
  ["few bits", fewBitsOf],
  ["bytes before", ({ totals }) => bytesText(totals.bytesBefore)],
  ["bytes after", ({ totals }) => bytesText(totals.bytesAfter)],
  [
    "perplexity before",
    ({ evaluation }) => (evaluation ? perplexityText(evaluation.before.perplexity) : NONE),
  ],
  [
    "perplexity after",
    ({ evaluation }) => (evaluation ? perplexityText(evaluation.after.perplexity) : NONE),
  ],
  [
    "KL (nats a token)",
    ({ evaluation }) =>
      evaluation?.after.against ? significant(evaluation.after.against.kl) : NONE,
  ],
  [
    "same likeliest token (%)",
    ({ evaluation }) =>
      evaluation?.after.against ? percentText(evaluation.after.against.agreement) : NONE,
  ],
  ["time (s)", ({ seconds }) => secondsText(seconds)],
  ["most bytes of tensors", ({ peakTensorBytes }) => bytesText(peakTensorBytes)],
  [
    "computed on",
    ({ run }) =>
      [run.backend, ...(run.how === undefined ? [] : [run.how.replace(/ \(.*\)$/, "")])].join(": "),
  ],
  ["in", ({ run }) => `${run.runtime}, ${run.os}`],
];

/** The results side by side. */
export function summaryTable(results: readonly Result[]): Table {
  return {
    columns: ["what", ...results.map(({ name }) => name)],
    rows: ROWS.map(([name, text]) => [name, ...results.map(text)]).filter(([, ...texts]) =>
      texts.some((text) => text !== NONE),
    ),
  };
}
