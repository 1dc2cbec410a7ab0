import { extent, group, max, mean } from "d3-array";
import { type Figure, panelsOf } from "../figure.js";
import { lineChart, type Series } from "../line-chart.js";
import { byteUnit, decimal, inUnit, percentText, significant } from "../numbers.js";
import type { Layer, Result } from "../result.js";
import { NONE, type Table } from "../table.js";

/** Lines of one chart at most. */
const MOST_LINES = 14;

/** Linears of one name in all blocks; experts and the like, which a number tells apart, are one. */
function kindOf({ linear }: Layer): string {
  return linear.replace(/(^|\.)\d+(?=\.)/g, "$1*");
}

/** The last part of a name, where no other has the same. */
export function shortNames(names: readonly string[]): string[] {
  const last = (name: string) => name.split(".").at(-1)!;
  return names.map((name) =>
    names.filter((other) => last(other) === last(name)).length === 1 ? last(name) : name,
  );
}

function seriesOf(layers: readonly Layer[]): Series[] {
  const measured = layers.filter(({ block, error }) => block !== undefined && error !== undefined);
  const kinds = [...group(measured, kindOf)].slice(0, MOST_LINES);
  const names = shortNames(kinds.map(([kind]) => kind));
  return kinds.map(([, own], i) => ({
    name: names[i],
    points: [...group(own, ({ block }) => block!)].map(([block, alike]) => {
      const error = mean(alike, (one) => one.error)!;
      return { x: block, y: error, text: `block ${block}, ${names[i]}: ${significant(error)}` };
    }),
  }));
}

type Column = readonly [name: string, text: (layer: Layer) => string];

function known(value: number | undefined, text: (value: number) => string): string {
  return value === undefined ? NONE : text(value);
}

function tableOf(layers: readonly Layer[]): Table {
  const unit = byteUnit(max(layers, ({ bytesBefore }) => bytesBefore) ?? 0);
  const bytes = (value: number | undefined) => known(value, (one) => inUnit(one, unit));
  /** A column, unless it is the same text all the way down. */
  const telling = (...column: Column): Column[] =>
    new Set(layers.map(column[1])).size > 1 ? [column] : [];
  const hasBits = layers.some(({ bitsPerWeight }) => bitsPerWeight !== undefined);
  const bits: Column = ["bits a weight", (layer) => known(layer.bitsPerWeight, decimal)];
  const columns: readonly Column[] = [
    ["linear", ({ linear }) => linear],
    ["block", ({ block }) => known(block, String)],
    ...telling("method", ({ method }) => method),
    ...telling("sparsity", ({ sparsity }) => sparsity),
    ["error", ({ error }) => known(error, significant)],
    ["removed (%)", ({ removed }) => percentText(removed)],
    ...(hasBits ? [bits] : []),
    [`before (${unit.name})`, ({ bytesBefore }) => bytes(bytesBefore)],
    [`after (${unit.name})`, ({ bytesAfter }) => bytes(bytesAfter)],
  ];
  return {
    columns: columns.map(([name]) => name),
    rows: layers.map((layer) => columns.map(([, text]) => text(layer))),
  };
}

function noteOf(layers: readonly Layer[]): string | undefined {
  const zeros = layers.filter(({ error }) => error === 0).length;
  const kinds = new Set(layers.filter(({ block }) => block !== undefined).map(kindOf)).size;
  const sentences = [
    ...(zeros > 0 ? [`${zeros} layers have an error of 0, which has no place on this axis.`] : []),
    ...(kinds > MOST_LINES
      ? [`The first ${MOST_LINES} of ${kinds} kinds of linears are drawn.`]
      : []),
  ];
  return sentences.length > 0 ? sentences.join(" ") : undefined;
}

export function layerErrorFigure(results: readonly Result[]): Figure {
  const drawn = new Map(results.map((result) => [result, seriesOf(result.layers)]));
  // One axis for all, so that they can be compared.
  const errors = [...drawn.values()].flat().flatMap(({ points }) => points.map(({ y }) => y));
  const [low = 1, high = 1] = extent(errors.filter((error) => error > 0));
  return {
    id: "layer-error",
    title: "Error of each layer",
    caption:
      "How far the outputs of each compressed linear are from those of the original one, on the calibration text: the squared difference by the squared length, so that 0.01 is one percent. Each line is one linear through the blocks, which are counted from 0 as in the layers' names. A layer far above its neighbours is where quality goes.",
    ...panelsOf(results, (result) => {
      const { name, layers } = result;
      if (layers.length === 0) return "No layer was replaced.";
      const table = tableOf(layers);
      const series = drawn.get(result)!;
      const isDrawn = series.some(({ points }) => points.some(({ y }) => y > 0));
      if (!isDrawn) return { chart: "", note: whyNone(layers), table };
      const chart = lineChart({
        label: `Line chart of the layers' errors by block, ${name}`,
        ...{ series, xName: "block", yName: "relative error" },
        yDomain: [low, high],
      });
      return { chart, note: noteOf(layers), table };
    }),
  };
}

function whyNone(layers: readonly Layer[]): string {
  return layers.some(({ error }) => error !== undefined)
    ? "Every error that was measured is 0."
    : "No layer's error was measured: compress with a calibration text, and without --no-layer-error.";
}
