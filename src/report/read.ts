/** Reads what `compress` left of a run. What stands in a folder may come from anywhere: all is checked. */
import { SIDE_FILE } from "../checkpoint/checkpoint.js";
import { parseJson } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import { REPORT_FILE, REPORT_VERSION } from "../models/written.js";
import { type Folder, openFolder } from "../platform/files.js";
import { JsonField } from "./json-field.js";
import type { Block, Concentration, Layer, Part, Result, Score } from "./result.js";

/** Longest file that is read, in bytes, and how deep its JSON is nested. */
const MOST_BYTES = 100_000_000;
const MOST_DEPTH = 16;
/** Blocks, layers and windows of one result. */
const MOST_BLOCKS = 10_000;
const MOST_LAYERS = 1_000_000;
const MOST_WINDOWS = 1_000_000;
const MOST_PHASES = 50;
/** Of other lists, which are short. */
const MOST_ENTRIES = 100;

const CURE = "the file is damaged: compress the model again";
/** Ends the name of a folder with unfinished work, and what is in one. */
const PARTIAL = ".partial";
const WORK_INDEX = "index.kept";

/**
 * Reads the result in a folder.
 *
 * @param given a path, or an open folder
 * @throws PenjingError when its run is not finished, it is of another version, it is no result, or one of
 *   its files is damaged
 */
export async function readResult(given: string | Folder): Promise<Result> {
  const folder = typeof given === "string" ? await openResult(given) : given;
  const { path } = folder;
  if (!(await folder.has(SIDE_FILE))) {
    const isWork = path.endsWith(PARTIAL) || (await folder.has(WORK_INDEX));
    throw isWork ? notFinished(path) : notResult(path);
  }
  if (!(await folder.has(REPORT_FILE))) {
    throw new PenjingError(
      path,
      `it has ${SIDE_FILE} and no ${REPORT_FILE}; copy that file too, or compress the model again.`,
    );
  }
  const side = await parsed(folder, SIDE_FILE);
  const report = await parsed(folder, REPORT_FILE);
  refuseVersion(report, `${path}/${REPORT_FILE}`);
  return resultOf(nameOf(path), side, report);
}

/** The last part of a path. */
function nameOf(path: string): string {
  return new JsonField(
    path,
    path.split(/[/\\]/).findLast((one) => one !== "") ?? "result",
    "",
  ).text();
}

async function openResult(path: string): Promise<Folder> {
  try {
    return await openFolder(path);
  } catch (error) {
    if (/\.gguf$/i.test(path)) {
      throw new PenjingError(
        path,
        `a GGUF file has no ${REPORT_FILE} beside it; give a folder that compress wrote.`,
        { cause: error },
      );
    }
    const partial = `${path.replace(/[/\\]+$/, "")}${PARTIAL}`;
    if (await openFolder(partial).catch(() => undefined)) throw notFinished(path);
    throw error;
  }
}

function notFinished(path: string): PenjingError {
  return new PenjingError(
    path,
    "its run is not finished, so that there is nothing to report; run the same compress command again, which goes on from there.",
  );
}

function notResult(path: string): PenjingError {
  return new PenjingError(
    path,
    `it has no ${SIDE_FILE}, so that it is no result of compress; give a folder that compress wrote.`,
  );
}

async function parsed(folder: Folder, name: string): Promise<JsonField> {
  const where = `${folder.path}/${name}`;
  const value = parseJson(await folder.readText(name, MOST_BYTES), where, MOST_DEPTH);
  return new JsonField(where, value, CURE);
}

/** @throws PenjingError for a report of another version, and what cannot be one */
function refuseVersion(report: JsonField, where: string): void {
  const version = report.get("version");
  if (!version.isThere) {
    throw new PenjingError(
      where,
      `it was written by an older penjing, which told only how long the run took; compress the model again.`,
    );
  }
  const found = version.number({ min: 1, whole: true });
  if (found === REPORT_VERSION) return;
  throw new PenjingError(
    where,
    `it is of version ${found}, and this penjing reads version ${REPORT_VERSION}; ${found > REPORT_VERSION ? "update penjing" : "compress the model again"}.`,
  );
}

function resultOf(name: string, side: JsonField, report: JsonField): Result {
  const model = side.get("model");
  const count = { min: 1, whole: true } as const;
  const layers = model.get("layers").number({ ...count, max: MOST_BLOCKS });
  const recipe = side.get("recipe");
  const totals = side.get("totals");
  const run = report.get("run");
  const evaluation = report.get("evaluation");
  return {
    name,
    model: {
      family: model.get("family").text(),
      layers,
      hiddenSize: model.get("hiddenSize").number(count),
      vocabSize: model.get("vocabSize").number(count),
    },
    steps: recipe.get("steps").list(MOST_ENTRIES).map(stepText),
    layout: recipe.get("layout").text(),
    totals: {
      ...bytesOf(totals),
      removed: totals.get("removed").number({ max: 1 }),
    },
    layers: readLayers(side, report, layers),
    run: {
      runtime: run.get("runtime").text(),
      os: run.get("os").text(),
      backend: run.get("backend").text(),
      how: run.get("how").isThere ? run.get("how").text() : undefined,
    },
    seconds: report.get("seconds").number(),
    writeSeconds: report.get("writeSeconds").number(),
    peakTensorBytes: report.get("peakTensorBytes").number(),
    blocks: readBlocks(report.get("blocks"), layers),
    parts: report
      .get("parts")
      .list(MOST_ENTRIES)
      .map((one): Part => {
        return { part: one.get("part").text(), ...bytesOf(one) };
      }),
    evaluation: evaluation.isThere
      ? { before: readScore(evaluation.get("before")), after: readScore(evaluation.get("after")) }
      : undefined,
  };
}

function bytesOf(field: JsonField): { readonly bytesBefore: number; readonly bytesAfter: number } {
  const [bytesBefore, bytesAfter] = ["bytesBefore", "bytesAfter"].map((key) =>
    field.get(key).number({ whole: true }),
  );
  return { bytesBefore, bytesAfter };
}

/** Options of a step that tell most, in this order. */
const TELLING = ["method", "sparsity", "bits", "groupSize", "scope", "anchor"];

/** A step of a recipe in few words. */
function stepText(step: JsonField): string {
  const kind = step
    .keys()
    .find((key) => key !== "match" && key !== "ignore" && key !== "overrides");
  if (kind === undefined) return step.fail("a step with the name of its kind");
  const options = step.get(kind);
  const told = TELLING.flatMap((key) => {
    const option = options.get(key);
    if (!option.isThere) return [];
    const isName = key === "method" || key === "sparsity" || key === "scope";
    if (isName) return [option.text()];
    const value = option.number();
    if (value === 0) return [];
    return [key === "bits" ? `${value} bits` : `${key} ${value}`];
  });
  const name = new JsonField("", kind, "").text();
  return told.length > 0 ? `${name}: ${told.join(", ")}` : name;
}

/** A layer's block and its name in it, by the first number that is a part of its name. */
function placeOf(name: string, blocks: number): Pick<Layer, "block" | "linear"> {
  const [, digits, linear] = /^(?:[^.]+\.)*?(\d{1,6})\.(.+)$/.exec(name) ?? [];
  const block = Number(digits);
  return digits !== undefined && block < blocks
    ? { block, linear }
    : { block: undefined, linear: name };
}

function readLayers(side: JsonField, report: JsonField, blocks: number): Layer[] {
  const sizes = new Map(
    report
      .get("layers")
      .list(MOST_LAYERS)
      .map((one) => [one.get("name").text(), bytesOf(one)]),
  );
  return side
    .get("layers")
    .list(MOST_LAYERS)
    .map((one) => {
      const name = one.get("name").text();
      const peer = one.get("peer");
      return {
        name,
        ...placeOf(name, blocks),
        method: one.get("method").text(),
        sparsity: one.get("sparsity").text(),
        removed: one.get("removed").number({ max: 1 }),
        bitsPerWeight: one.get("bitsPerWeight").maybeNumber(),
        peer: peer.isThere ? peer.get("held").text() : undefined,
        error: one.get("layerError").maybeNumber(),
        bytesBefore: sizes.get(name)?.bytesBefore,
        bytesAfter: sizes.get(name)?.bytesAfter,
      };
    });
}

function readBlocks(field: JsonField, layers: number): Block[] {
  const blocks = field.list(MOST_BLOCKS).map((one) => readBlock(one, layers));
  // Each is a column of a table.
  const phases = new Set(blocks.flatMap((one) => one.phases.map(({ phase }) => phase)));
  if (phases.size > MOST_PHASES) field.fail(`blocks of at most ${MOST_PHASES} phases`);
  return blocks;
}

function readBlock(field: JsonField, blocks: number): Block {
  const rotations = field.get("rotations");
  return {
    block: field.get("block").number({ whole: true, max: blocks - 1 }),
    seconds: field.get("seconds").number(),
    phases: field
      .get("phases")
      .list(MOST_ENTRIES)
      .map((one) => ({
        phase: one.get("phase").text(),
        seconds: one.get("seconds").number(),
      })),
    residualError: field.get("residualError").maybeNumber(),
    concentrations: rotations.isThere
      ? rotations
          .list(MOST_ENTRIES)
          .flatMap((one) => one.get("concentrations").list(MOST_ENTRIES).map(readConcentration))
      : [],
  };
}

/** What a rotation may have lowered. */
const LOSSES: readonly string[] = [
  "removed",
  "entropy",
  "rounding",
] satisfies Concentration["loss"][];

function readConcentration(field: JsonField): Concentration {
  const loss = field.get("loss");
  const found = loss.text();
  if (!LOSSES.includes(found)) loss.fail(`"removed", "entropy" or "rounding"`);
  return {
    linears: field
      .get("linears")
      .list(MOST_ENTRIES)
      .map((one) => one.text()),
    loss: found as Concentration["loss"],
    before: field.get("before").number(),
    after: field.get("after").number(),
  };
}

/** What is 0 at least, but for rounding. */
const ROUNDED = { min: -1 };

function readScore(field: JsonField): Score {
  const against = field.get("against");
  const count = { min: 1, whole: true } as const;
  return {
    perplexity: field.get("perplexity").number({ min: 0.5 }),
    windowNll: field
      .get("windowNll")
      .list(MOST_WINDOWS)
      .map((one) => one.number(ROUNDED)),
    windows: field.get("windows").number(count),
    window: field.get("window").number(count),
    textSha256: field.get("textSha256").text(),
    against: against.isThere
      ? {
          kl: against.get("kl").number(ROUNDED),
          agreement: against.get("agreement").number({ max: 1 }),
        }
      : undefined,
  };
}
