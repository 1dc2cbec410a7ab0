/** A run whose output is a GGUF file: what it will hold is planned before the work, and written after it. */
import type { Backend } from "../backend.js";
import { type Checkpoint, openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { keysOfOrigin } from "../checkpoint/gguf/keys.js";
import { bitsOfCodes, holdsCodes } from "../checkpoint/gguf/write/codes.js";
import { entryBytes } from "../checkpoint/gguf/write/header.js";
import { PenjingError } from "../errors.js";
import { type Asked, type Described, describeGguf } from "../export/gguf/describe.js";
import { elementsOf, type Planned, typeOfCodes } from "../export/gguf/plan.js";
import type { GgufType, LinearTypes } from "../export/gguf/types.js";
import { askedOf, nameOf, writeGguf } from "../export/gguf/write-gguf.js";
import type { Form, Leaf, Numbers } from "../form.js";
import { embeddingName, headName, readLargeModel, type StoredModel } from "../models/stored.js";
import type { OutputFolder } from "../platform/files.js";
import { loadFiles, loadPaths } from "../platform/node-modules.js";
import type { Output } from "./commit.js";
import type { Journal } from "./journal.js";
import { madeCheckpoint } from "./made-checkpoint.js";
import type { CompressOptions } from "./options.js";
import type { Totals } from "./output.js";
import type { LayerPlan, LayerReport } from "./solve.js";

type Plan = ReadonlyMap<string, LayerPlan>;

/** Inputs that every type's blocks divide. */
const BLOCK = 32;

/**
 * Plans the file that a run will write.
 *
 * @param plan what is done to the linears, by name
 * @throws PenjingError for a model that a GGUF file has no words for, and codes that its types do not hold
 */
export async function planGguf(
  model: StoredModel,
  plan: Plan,
  options: CompressOptions,
): Promise<GgufTarget> {
  const asked = askedOf(options);
  const name = nameOf(options.out);
  const made = new Map<string, Form<string>>();
  for (const [layer, { method, stores, options: own }] of plan) {
    const weight = `${layer}.weight`;
    const [rows, cols] = model.weights.get(weight)!.shape;
    const form = stores && method.form?.([rows, cols], own);
    // Its parts are not there yet, and not read.
    if (form) made.set(weight, form as Form<unknown> as Form<string>);
  }
  // A tokenizer in the place of the file's own is written as one that came with a folder.
  const keepsKeys = options.tokenizer === undefined;
  const checkpoint = keepsKeys ? model.checkpoint : { ...model.checkpoint, origin: undefined };
  const forms = new Map([...model.forms, ...made]);
  const described = await describeGguf({ ...model, checkpoint, forms }, asked);
  for (const [weight, form] of made) {
    const tensor = described.plan.tensors.find(({ source }) => source?.name === weight);
    if (form.kind !== "leaf") continue;
    const { numbers } = form;
    const isTable = weight === embeddingName(model) || weight === headName(model);
    const option = isTable ? "ggufEmbedding" : "ggufType";
    const wanted = isTable ? asked.embedding : asked.linear;
    if (tensor && numbers.kind === "grid") {
      refuseCodes(weight, form as GridLeaf, tensor.type, { option, wanted });
    } else if (tensor && numbers.kind === "k-type" && tensor.type !== numbers.type) {
      throw new PenjingError(
        option,
        `${weight}: ${tensor.type} does not hold codes of ${numbers.type}; choose ${numbers.type}, or leave it out.`,
      );
    }
  }
  const lost = described.plan.tensors.filter(
    ({ source, type }) =>
      source && !made.has(source.name) && isPruned(plan, source.name) && WITHOUT_ZERO.has(type),
  );
  const notes = [...described.notes, ...(lost.length > 0 ? [zerosLost(lost)] : [])];
  return new GgufTarget(model, plan, {
    asked,
    name,
    keepsKeys,
    described: { ...described, notes },
  });
}

/** Types whose blocks have a minimum, so that none of their levels need be 0. */
const WITHOUT_ZERO: ReadonlySet<GgufType> = new Set(["Q4_1", "Q5_1", "Q4_K", "Q5_K"]);

function isPruned(plan: Plan, weight: string): boolean {
  const sparsity = plan.get(weight.replace(/\.weight$/, ""))?.sparsity;
  return sparsity !== undefined && !(sparsity.kind === "unstructured" && sparsity.ratio === 0);
}

function zerosLost(lost: readonly Planned[]): string {
  const types = [...new Set(lost.map(({ type }) => type))].join(" and ");
  return `${lost.length} pruned tensors are of ${types}, which do not keep zeros: what was pruned has small values in the file; Q4_0, Q5_0, Q6_K and Q8_0 keep them`;
}

/** The type that was asked for, and by which option. */
interface AskedType {
  readonly option: "ggufType" | "ggufEmbedding";
  readonly wanted: LinearTypes | undefined;
}

type GridLeaf = Leaf<string> & { readonly numbers: Extract<Numbers, { kind: "grid" }> };

/** @throws PenjingError when a weight's codes would not be kept as they are */
function refuseCodes(
  weight: string,
  leaf: GridLeaf,
  type: GgufType,
  { option, wanted }: AskedType,
): void {
  const { shape, numbers } = leaf;
  const { bits, symmetric, groupSize = shape[1] } = numbers;
  const refuse = (where: string, what: string): never => {
    throw new PenjingError(where, `${weight}: ${what}`);
  };
  if (shape[1] % BLOCK !== 0) {
    const layer = weight.replace(/\.weight$/, "");
    const cure =
      option === "ggufType"
        ? `leave it out with \`ignore: "${likewise(layer)}"\``
        : "leave out `embeddingBits` and `headBits`";
    refuse(
      "layout",
      `its ${shape[1]} inputs are no whole blocks of ${BLOCK}, as GGUF's types have them; ${cure}.`,
    );
  }
  if (groupSize % BLOCK !== 0) {
    refuse(
      "groupSize",
      `its groups of ${groupSize} inputs are no whole blocks of ${BLOCK}, as GGUF's types have them; choose 32 or a multiple of it.`,
    );
  }
  const codes = `codes of ${bits} bits${symmetric ? "" : " with zero points"}`;
  const best = typeOfCodes(leaf);
  if (wanted) {
    if (holdsCodes(type, leaf)) return;
    const cure = best ? `choose ${best}, or leave it out` : `choose ${usualBits(symmetric)} bits`;
    refuse(option, `${wanted} does not hold ${codes}; ${cure}.`);
  }
  if (best && bitsOfCodes(best) === bits) return;
  const cure = best ? `, or \`${option}: ${best}\`, which keeps them in more` : "";
  refuse("layout", `no GGUF type has ${codes}; choose ${usualBits(symmetric)} bits${cure}.`);
}

function usualBits(symmetric: boolean): string {
  return symmetric ? "4, 5 or 8" : "4 or 5";
}

/** What was settled of a file before the work. */
interface Settled {
  readonly asked: Asked;
  /** Of the file. */
  readonly name: string;
  /** Whether a GGUF file's own keys are kept. */
  readonly keepsKeys: boolean;
  readonly described: Described;
}

/** The GGUF file that a run writes. */
export class GgufTarget {
  constructor(
    private readonly model: StoredModel,
    private readonly plan: Plan,
    private readonly settled: Settled,
  ) {}

  /** What is to be said of the file. */
  get notes(): readonly string[] {
    return this.settled.described.notes;
  }

  /** A layer's report with the bits that it takes in the file, and without tensors that the file has not. */
  report({ form: _, ...report }: LayerReport): LayerReport {
    if (report.bitsPerWeight === undefined) return report;
    const own = tensorsOf(this.settled.described, `${report.name}.weight`);
    const weights = own.reduce((sum, tensor) => sum + elementsOf(tensor), 0);
    return { ...report, bitsPerWeight: (8 * bytesOf(own)) / weights };
  }

  /** The file of what was made. */
  async file(made: Output, journal: Journal, signal?: AbortSignal): Promise<GgufFile> {
    const { asked, name, keepsKeys } = this.settled;
    const checkpoint = await madeCheckpoint(made, journal);
    const given: Checkpoint = keepsKeys ? checkpoint : { ...checkpoint, origin: undefined };
    const model = await readLargeModel(given, this.model.registry, signal);
    const described = await describeGguf(model, asked);
    const layers = made.layers.map((report) => this.report(report));
    const weights = [...this.plan.keys()].map((layer) => `${layer}.weight`);
    const totals: Totals = {
      ...made.totals(),
      layerBytesAfter: bytesOf(weights.flatMap((weight) => tensorsOf(described, weight))),
      bytesAfter: bytesOf(described.plan.tensors),
    };
    return new GgufFile(model, described, name, layers, totals);
  }
}

function tensorsOf({ plan }: Described, weight: string): Planned[] {
  return plan.tensors.filter(({ source }) => source?.name === weight);
}

function bytesOf(tensors: readonly Planned[]): number {
  return tensors.reduce((sum, tensor) => sum + entryBytes(tensor), 0);
}

/** What a run made, ready to be written as a GGUF file. */
export class GgufFile {
  constructor(
    private readonly model: StoredModel,
    private readonly described: Described,
    private readonly name: string,
    readonly layers: readonly LayerReport[],
    readonly totals: Totals,
  ) {}

  /** What is said of it where it is no smaller than its input. */
  readonly sizeNote =
    "it takes no fewer bytes than the model that it was made from; `ggufType: Q8_0`, or a smaller type, takes fewer";

  /**
   * Writes the file, or its parts; yields the share that is written.
   *
   * @param side what penjing.json says beside a folder's weights
   * @param options `ggufRecord` false leaves that out
   * @returns the names of the files
   */
  async *write(
    output: OutputFolder,
    side: string,
    backend: Backend,
    {
      shardBytes,
      ggufRecord = true,
      signal,
    }: Pick<CompressOptions, "shardBytes" | "ggufRecord" | "signal">,
  ): AsyncGenerator<number, readonly string[], void> {
    const record = ggufRecord && { [SIDE_FILE]: ["STRING", side] as const };
    const keys = { ...this.described.keys, ...record };
    const { model, name } = this;
    const described = { ...this.described, keys };
    const work = writeGguf({ model, backend, signal }, described, output, { name, shardBytes });
    let step = await work.next();
    for (; !step.done; step = await work.next()) {
      if (step.value.type === "progress") yield step.value.fraction;
    }
    return step.value.files;
  }
}

/** What a GGUF file that a run wrote says of the run, and the names of its parts. */
export async function readSide(
  out: string,
): Promise<{ readonly text: string; readonly files: readonly string[] }> {
  const { readdir } = await loadFiles();
  const { basename, dirname, join, resolve } = await loadPaths();
  const path = resolve(out);
  const [name, folder] = [basename(path), dirname(path)];
  const stem = name.replace(/\.gguf$/i, "");
  const isFirst = (one: string) =>
    one === name ||
    (one.startsWith(`${stem}-`) && /^-00001-of-\d{5}\.gguf$/i.test(one.slice(stem.length)));
  const [first] = (await readdir(folder)).filter(isFirst);
  const { origin, close } = await openCheckpoint(join(folder, first));
  await close();
  return { text: keysOfOrigin.get(origin!)!.text(SIDE_FILE)!, files: origin!.files };
}

/** The glob of a linear in all blocks: what one has too few inputs for, the others have too. */
function likewise(layer: string): string {
  return layer.replace(/^.*\.\d+\./, "*.");
}
