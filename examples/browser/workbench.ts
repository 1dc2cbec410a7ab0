/** The worker's calls: a model that was opened, what became of it, and texts that both tell. */
import { makeZip } from "client-zip";
import {
  type Checkpoint,
  compress,
  describeModel,
  describeRecipe,
  type EvaluateOptions,
  evaluatePerplexity,
  exportModel,
  type Folder,
  generate,
  loadChatTemplate,
  type MethodDescription,
  memoryFolder,
  type OpenModel,
  openCheckpoint,
  openHubFolder,
  openModel,
  PenjingError,
  type Perplexity,
  report,
  type SparsityText,
  type TokenizeEvent,
  VERSION,
} from "penjing";
import { backendOf, explainFailure, wasmBecause, whereItRan, whyNotGpu } from "./compute.js";
import { withEvaluation } from "./evaluated.js";
import type { Calls, ComputeChoice, MethodChoice, Settings, Stage, WorkEvent } from "./messages.js";
import { BITS, SPARSITIES } from "./sparsities.js";
import { openStorage, type Storage } from "./storage.js";

type Emit<Name extends keyof Calls> = (event: Calls[Name]["event"]) => void;

/** Bytes of a file that are in memory at a time while it is packed. */
const PIECE = 1 << 22;

/** Bytes of a model beyond which no two are held beside one another. */
const LARGE = 2 ** 30;

const PHASES: Readonly<Record<string, string>> = {
  survey: "looking at",
  calibrate: "gathering statistics of",
  rotate: "rotating",
  prune: "pruning",
  quantize: "quantizing",
  measure: "measuring the error of",
  advance: "running the compressed",
};

/** Texts by the names that they have in the embedded model's folder. */
const TEXT_FILES = { calibration: "calibration.txt", evaluation: "evaluation.txt" } as const;

/** A model that was opened to tell texts. */
interface Told {
  readonly which: string;
  readonly compute: ComputeChoice;
  readonly model: OpenModel;
}

export class Workbench {
  private storage: Promise<Storage> | undefined;
  private source: Checkpoint | undefined;
  /** Of the model, as the page calls it. */
  private name = "";
  /** Of its weights. */
  private bytes = 0;
  private result: Folder | undefined;
  private told: Told | undefined;

  /** @throws PenjingError when the browser lacks what the work needs */
  async hello(): Promise<Calls["hello"]["result"]> {
    if (!globalThis.crypto?.subtle) {
      throw new PenjingError(
        "browser",
        "this page was not opened securely, and browsers then withhold what it needs; open it from https or from localhost.",
      );
    }
    this.storage = openStorage();
    const reason = await whyNotGpu();
    const recipe = await describeRecipe();
    return {
      version: VERSION,
      methods: [
        ...recipe.methods.map((method) => describeMethod(method)),
        ...recipe.quantizers.map((method) => describeMethod(method, true)),
      ],
      rotate: recipe.steps.rotate,
      compute: reason === undefined ? "WebGPU is there." : wasmBecause(reason),
      storage: (await this.storage).kind,
    };
  }

  /** @throws PenjingError for a folder that cannot be compressed, measured and told from */
  async open({ name, files, hub }: Calls["open"]["args"]): Promise<Calls["open"]["result"]> {
    await this.leave();
    const folder = hub ? await openHubFolder(name, hub) : memoryFolder(files, name);
    const checkpoint = await openCheckpoint(folder);
    const { family, blocks, context, parameters, bytes } = await describeModel(checkpoint);
    const found = (file: string) => (file in files ? file : undefined);
    const template = await loadChatTemplate(checkpoint.folder).catch(
      (error: Error) => error.message,
    );
    this.source = checkpoint;
    this.name = name;
    this.bytes = bytes;
    return {
      ...{ name, family, blocks, context, parameters, bytes },
      isChatty: typeof template === "object",
      ...(typeof template === "string" && { chatProblem: template }),
      texts: {
        calibration: found(TEXT_FILES.calibration),
        evaluation: found(TEXT_FILES.evaluation),
      },
    };
  }

  private model(): Checkpoint {
    if (this.source) return this.source;
    throw new PenjingError("model", "no model is open; choose a folder first.");
  }

  /** Forgets the model and what was made of it. */
  private async leave(): Promise<void> {
    await this.closeTold();
    await this.source?.close();
    this.source = undefined;
    this.result = undefined;
  }

  private async closeTold(): Promise<void> {
    const { told } = this;
    this.told = undefined;
    await told?.model.close();
  }

  async compress(
    settings: Settings,
    emit: Emit<"compress">,
    signal: AbortSignal,
  ): Promise<Calls["compress"]["result"]> {
    const model = this.model();
    await this.closeTold();
    this.result = undefined;
    const calibration = await settings.calibration?.text();
    const text = await settings.evaluation?.text();
    const backend = backendOf(settings.compute);
    const measure = async (
      name: Stage,
      models: Pick<EvaluateOptions, "model" | "against">,
    ): Promise<Perplexity | undefined> => {
      if (text === undefined) return undefined;
      emit({ type: "stage", stage: name });
      const lowMemory = this.bytes > LARGE;
      const run = evaluatePerplexity({ ...models, text, lowMemory, ...backend, signal });
      for await (const event of run) {
        if (event.type === "note") {
          emit({ type: "note", text: event.message });
          continue;
        }
        if (event.type === "tokenize") {
          emit(reading(event));
          continue;
        }
        if (event.type === "block") {
          const { first, last, windows, done, blocks } = event;
          const so = `windows ${first} to ${last} of ${windows}, block ${done} of ${blocks}`;
          emit({ type: "progress", fraction: (first - 1) / windows, text: so });
          continue;
        }
        const { done, windows, perplexity } = event;
        const so = `${done} of ${windows} windows, perplexity ${perplexity.toFixed(2)}`;
        emit({ type: "progress", fraction: done / windows, text: so });
      }
      const score = await run.result();
      emit({ type: "compute", text: whereItRan(score.served) });
      emit({ type: "perplexity", stage: name, value: score.perplexity });
      return score;
    };
    try {
      const before = await measure("before", { model });
      emit({ type: "stage", stage: "prune" });
      const pruned = await this.prune(settings, calibration, emit, signal);
      const folder = pruned.folder;
      const compressed = await openCheckpoint(folder);
      let after: Perplexity | undefined;
      try {
        after = await measure("after", { model: compressed, against: model });
      } finally {
        await compressed.close();
      }
      this.result = before && after ? await withEvaluation(folder, before, after) : folder;
      return {
        totals: pruned.result.totals,
        layers: pruned.result.layers.length,
        seconds: pruned.result.seconds,
        before: before?.perplexity,
        after: after?.perplexity,
        kl: after?.against?.kl,
        agreement: after?.against?.agreement,
        bitsPerWeight: after?.bitsPerWeight.compressed,
        windows: after?.windows,
        window: after?.window,
      };
    } catch (error) {
      throw await explainFailure(error);
    }
  }

  private async prune(
    settings: Settings,
    calibration: string | undefined,
    emit: (event: WorkEvent) => void,
    signal: AbortSignal,
  ) {
    const { layout, samples, length, rotate } = settings;
    const model = this.model();
    const storage = await this.storage!;
    const out = await storage.createOutput(resultName(this.name, settings));
    const run = compress({
      model,
      out,
      calibration,
      ...backendOf(settings.compute),
      signal,
      recipe: {
        version: 2,
        layout,
        samples,
        length,
        steps: [...(rotate ? [{ rotate }] : []), stepOf(settings)],
      },
    });
    for await (const event of run) {
      if (event.type === "progress") {
        const doing = PHASES[event.phase] ?? event.phase;
        const text = `${doing} block ${event.block + 1} of ${event.blocks}`;
        const { fraction, secondsLeft } = event;
        emit({ type: "progress", fraction, text, secondsLeft });
      } else if (event.type === "tokenize") {
        emit(reading(event));
      } else if (event.type === "layer") {
        emit(event);
      } else if (event.type === "note") {
        const isOfBackend = event.where === "backend";
        emit({
          type: "note",
          text: isOfBackend ? event.message : `[${event.where}] ${event.message}`,
        });
      }
    }
    const result = await run.result();
    emit({ type: "compute", text: whereItRan(result.served) });
    emit({ type: "progress", fraction: 1, text: "written" });
    return { result, folder: await storage.openOutput(out) };
  }

  async generate(
    { which, compute: choice, ...ask }: Calls["generate"]["args"],
    emit: Emit<"generate">,
    signal: AbortSignal,
  ): Promise<Calls["generate"]["result"]> {
    const model = await this.openTold(which, choice, signal);
    const run = generate({ ...ask, model, signal });
    for await (const event of run) if (event.type === "token") emit(event.text);
    const { tokensPerSecond, ids, stoppedBy } = await run.result();
    return { tokensPerSecond, tokens: ids.length, ended: stoppedBy };
  }

  private async openTold(
    which: "original" | "compressed",
    choice: ComputeChoice,
    signal: AbortSignal,
  ): Promise<OpenModel> {
    if (this.told?.which === which && this.told.compute === choice) return this.told.model;
    await this.closeTold();
    const checkpoint = which === "original" ? this.model() : await openCheckpoint(this.made());
    try {
      const model = await openModel(checkpoint, {
        ...backendOf(choice),
        // As `generate` does of its own, and other programs.
        activations: "int8",
        signal,
      });
      this.told = { which, compute: choice, model };
      return model;
    } catch (error) {
      throw await explainFailure(error);
    }
  }

  private made(): Folder {
    if (this.result) return this.result;
    throw new PenjingError("result", "nothing was compressed yet; run a compression first.");
  }

  /** Writes the compressed folder as a GGUF file. */
  async gguf(
    _: undefined,
    emit: Emit<"gguf">,
    signal: AbortSignal,
  ): Promise<Calls["gguf"]["result"]> {
    const folder = this.made();
    const storage = await this.storage!;
    const name = `${folder.path}.gguf`;
    const out = await storage.createOutput(name);
    const model = await openCheckpoint(folder);
    try {
      const run = exportModel({ model, out, layout: "gguf", signal });
      for await (const event of run) if (event.type === "progress") emit(event.fraction);
      const [file] = (await run.result()).files!;
      return { blob: await storage.openFile(out, file), name };
    } finally {
      await model.close();
    }
  }

  /** Draws what was done as one page. */
  async report(): Promise<Calls["report"]["result"]> {
    const folder = this.made();
    const { html } = await report({ folders: [folder] });
    return { blob: new Blob([html], { type: "text/html" }), name: `${folder.path}-report.html` };
  }

  /** Packs the compressed folder into one zip file, a piece at a time. */
  async pack(
    _: undefined,
    emit: Emit<"pack">,
    signal: AbortSignal,
  ): Promise<Calls["pack"]["result"]> {
    const folder = this.made();
    const names = await folder.list();
    const sources = await Promise.all(names.map((name) => folder.open(name)));
    const total = sources.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    const entries = sources.map(({ size, read }, i) => ({
      name: `${folder.path}/${names[i]}`,
      size,
      input: (async function* () {
        for (let at = 0; at < size; at += PIECE) {
          signal.throwIfAborted();
          const length = Math.min(PIECE, size - at);
          yield await read(at, length);
          done += length;
          emit(done / total);
        }
      })(),
    }));
    const name = `${folder.path}.zip`;
    const sink = await (await this.storage!).createBlob(name);
    try {
      const reader = makeZip(entries).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        await sink.write(part.value);
      }
      return { blob: await sink.finish(), name };
    } catch (error) {
      await sink.discard();
      throw error;
    }
  }
}

function describeMethod(method: MethodDescription, quantizes = false): MethodChoice {
  const { name, summary, factorises, reads, refusal } = method;
  // The bits have a control of their own.
  const { bits: _, ...options } = method.options;
  const sparsities = quantizes ? Object.keys(BITS) : SPARSITIES.filter((text) => !refusal(text));
  return {
    name,
    summary,
    quantizes,
    sparsities,
    options: quantizes ? options : method.options,
    hasFactors: factorises,
    readsText: reads.length > 0,
  };
}

/** The step of the recipe that the settings ask for, a rotation before it aside. */
function stepOf({ method, sparsity, options }: Settings) {
  const bits = BITS[sparsity];
  if (bits !== undefined) return { quantize: { ...options, method, bits } };
  return { prune: { ...options, method, sparsity: sparsity as SparsityText } };
}

/** How far the encoding of a text is; it comes before the rest of a stage, which then begins anew. */
function reading({ done, characters }: TokenizeEvent): WorkEvent {
  return { type: "progress", fraction: done / characters, text: "reading the text" };
}

/** A folder name such as "stories-1m-sparsegpt-2-4". */
function resultName(model: string, { method, sparsity, rotate }: Settings): string {
  const parts = [model, method, sparsity, ...(rotate ? ["rotated"] : [])];
  return parts.join("-").replaceAll(/[^\w.-]+/g, "-");
}
