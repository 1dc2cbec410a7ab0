import type { Figure, Panel } from "../figure.js";
import { bytesText, byteUnit, inUnit, perplexityText } from "../numbers.js";
import type { PublishedPoint } from "../options.js";
import type { Result, Score } from "../result.js";
import { type Place, scatterChart } from "../scatter-chart.js";
import { NONE } from "../table.js";

const ORIGINAL = 1;
const KINDS = ["compressed", "as it was", "published by others"] as const;

/** A model as a place: bytes and perplexity. */
interface Model {
  readonly name: string;
  readonly kind: number;
  readonly bytes: number;
  readonly perplexity: number;
  readonly source: string;
}

function modelsOf(results: readonly Result[], points: readonly PublishedPoint[]): Model[] {
  const models: Model[] = [];
  for (const { name, totals, evaluation, model } of results) {
    if (!evaluation) continue;
    const { before, after } = evaluation;
    const { bytesBefore, bytesAfter } = totals;
    const isKnown = models.some(
      (one) =>
        one.kind === ORIGINAL && one.bytes === bytesBefore && one.perplexity === before.perplexity,
    );
    // Several results of one model have the same beginning.
    if (!isKnown) {
      const original = { name: `${model.family} as it was`, kind: ORIGINAL, source: NONE };
      models.push({ ...original, bytes: bytesBefore, perplexity: before.perplexity });
    }
    models.push({ name, kind: 0, source: NONE, bytes: bytesAfter, perplexity: after.perplexity });
  }
  for (const { name, bytes, perplexity, source = NONE } of points) {
    models.push({ name, kind: 2, bytes, perplexity, source });
  }
  return models;
}

/** Those that no other is better than in one way and as good in both, by bytes. */
export function paretoFront<One extends Pick<Model, "bytes" | "perplexity">>(
  models: readonly One[],
): One[] {
  const front: One[] = [];
  const order = models.toSorted((a, b) => a.bytes - b.bytes || a.perplexity - b.perplexity);
  for (const one of order) {
    const last = front.at(-1);
    if (!last || one.perplexity < last.perplexity) front.push(one);
  }
  return front;
}

/** Whether scores are of one text, cut into windows of one length. */
function areComparable(scores: readonly Score[]): boolean {
  return scores.every(
    ({ textSha256, window }) => textSha256 === scores[0].textSha256 && window === scores[0].window,
  );
}

function panelOf(models: readonly Model[], comparable: boolean): Panel {
  const unit = byteUnit(Math.max(...models.map(({ bytes }) => bytes)));
  const placed = models.map((model): Model & Place => ({
    ...model,
    x: model.bytes / unit.bytes,
    y: model.perplexity,
    text: `${model.name}: ${bytesText(model.bytes)}, perplexity ${perplexityText(model.perplexity)}`,
  }));
  const own = placed.filter(({ kind }) => kind <= ORIGINAL);
  const front = comparable ? paretoFront(own) : [];
  const note = comparable
    ? undefined
    : "These perplexities are of different texts, or of windows of different lengths: they cannot be compared, and no line joins the best.";
  return {
    chart: scatterChart({
      label: "Perplexity against bytes",
      ...{ kinds: KINDS, places: placed, front },
      frontName: "the best for their bytes",
      xName: `bytes (${unit.name})`,
      yName: "perplexity",
    }),
    note,
    table: {
      columns: ["model", "what", `bytes (${unit.name})`, "perplexity", "among the best", "source"],
      rows: placed.map((model) => [
        model.name,
        KINDS[model.kind],
        inUnit(model.bytes, unit),
        perplexityText(model.perplexity),
        front.includes(model) ? "yes" : NONE,
        model.source,
      ]),
    },
  };
}

export function qualityFigure(
  results: readonly Result[],
  points: readonly PublishedPoint[],
): Figure {
  const models = modelsOf(results, points);
  const scores = results.flatMap(({ evaluation }) =>
    evaluation ? [evaluation.before, evaluation.after] : [],
  );
  const unknown = results.filter(({ evaluation }) => !evaluation).map(({ name }) => name);
  const missing =
    unknown.length > 0
      ? [`${unknown.join(", ")}: no perplexity was measured, compress with --eval and a text.`]
      : [];
  const isAlone = results.length < 2 && points.length === 0;
  return {
    id: "quality",
    title: "Quality against bytes",
    caption:
      "Each mark is a model: the further left the smaller, the lower the better. The broken line joins those that nothing here beats in both; what others published is grey and not joined, as their texts and windows may be others.",
    missing: isAlone
      ? ["One result has nothing to be compared with: give several folders."]
      : missing,
    panels: isAlone || scores.length === 0 ? [] : [panelOf(models, areComparable(scores))],
  };
}
