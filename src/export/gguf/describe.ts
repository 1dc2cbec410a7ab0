/** The keys of a GGUF file of a model, checked by the reader of such files. */
import type { Checkpoint } from "../../checkpoint/checkpoint.js";
import type { Contents } from "../../checkpoint/gguf/architectures/fields.js";
import {
  ARCHITECTURE_KEY,
  architectureFor,
  changeOf,
  configOf,
} from "../../checkpoint/gguf/architectures.js";
import type { Change } from "../../checkpoint/gguf/change.js";
import { Keys, keysOfOrigin } from "../../checkpoint/gguf/keys.js";
import { checkTold } from "../../checkpoint/gguf/write/check.js";
import { makeHeader, readBack } from "../../checkpoint/gguf/write/header.js";
import { tokenizerKeys } from "../../checkpoint/gguf/write/tokenizer.js";
import type { KeyValues } from "../../checkpoint/gguf/write/values.js";
import { PenjingError } from "../../errors.js";
import { plainConfig } from "../../layouts/index.js";
import { readModelConfig } from "../../models/families/index.js";
import type { StoredModel } from "../../models/stored.js";
import { quote } from "../../quote.js";
import { chooseTypes, type Plan, planTensors } from "./plan.js";
import { fileTypeOf, type GgufType, isQuantized, type LinearTypes } from "./types.js";

/** What was asked of a GGUF file. */
export interface Asked {
  /** Of the linears. @default what keeps their codes, or their own dtype */
  readonly linear?: LinearTypes | undefined;
  /** Of embedding and head. @default as llama.cpp's beside K types, Q8_0 beside other quantized linears, else the same */
  readonly embedding?: GgufType | undefined;
  /** llama.cpp's name of the pre-tokenizer. @default the one that fits tokenizer.json */
  readonly pre?: string | undefined;
}

/** All of a GGUF file but the values of its weights. */
export interface Described {
  readonly keys: KeyValues;
  readonly plan: Plan;
  readonly notes: readonly string[];
  /** What an error in each column of a tensor weighs, by ggml's name of it. @default nothing is known */
  readonly importance?: ReadonlyMap<string, Float32Array> | undefined;
  /** What llama.cpp's converter would do to a tensor, by ggml's name of it. */
  changeOf(name: string): Change | undefined;
}

/** General keys of a file that are made anew. */
const NOT_KEPT = /^general\.(architecture|type|file_type|quantization_version|alignment)$/;

/**
 * Describes a model as a GGUF file, and reads the description back.
 *
 * @throws PenjingError for a family, a tokenizer or a property that a GGUF file has no words for
 */
export async function describeGguf(model: StoredModel, asked: Asked): Promise<Described> {
  const { spec, checkpoint, layout } = model;
  const { arch, architecture } = architectureFor(
    spec.family,
    checkpoint.folder.path,
    "choose another layout",
  );
  const config = plainConfig(checkpoint.config, layout) as Record<string, unknown>;
  const { keys: told, factors = {}, notes = [] } = architecture.tell(spec, config);
  const types = chooseTypes(model, asked);
  const plan = planTensors(model, architecture, types, factors);
  const beside = await besideKeys(model, asked.pre);
  const quantized = plan.tensors.some(({ type }) => isQuantized(type));
  const keys: KeyValues = {
    [ARCHITECTURE_KEY]: ["STRING", arch],
    "general.type": ["STRING", "model"],
    ...beside.general,
    "general.file_type": ["U32", fileTypeOf(types.main)],
    ...(quantized && { "general.quantization_version": ["U32", 2] as const }),
    ...Object.fromEntries(Object.entries(told).map(([key, value]) => [`${arch}.${key}`, value])),
    ...beside.tokenizer,
  };
  const read = await readKeys(model, keys, plan, factors);
  return {
    ...{ keys, plan, notes: [...notes, ...beside.notes, ...plan.notes] },
    changeOf: (name) => changeOf(architecture, read, name),
  };
}

/**
 * The tensors that a model's weights become and their types, whatever else the file says.
 *
 * @throws PenjingError for a family that a GGUF file has no words for
 */
export function planTypes(model: StoredModel, asked: Asked): Plan {
  const { family } = model.spec;
  const { path } = model.checkpoint.folder;
  const { architecture } = architectureFor(family, path, "choose another layout");
  return planTensors(model, architecture, chooseTypes(model, asked), {});
}

/** Keys of what is beside the weights. */
interface Beside {
  readonly general: KeyValues;
  readonly tokenizer: KeyValues;
  readonly notes: readonly string[];
}

/** What a GGUF file had, or what a folder's files say. */
async function besideKeys({ checkpoint, spec }: StoredModel, pre?: string): Promise<Beside> {
  const old = checkpoint.origin && keysOfOrigin.get(checkpoint.origin);
  if (!old) {
    const { keys, notes } = await tokenizerKeys(checkpoint.folder, { rows: spec.vocabSize, pre });
    const name = nameOf(checkpoint);
    return { general: { "general.name": ["STRING", name] }, tokenizer: keys, notes };
  }
  const kept = (prefix: string): KeyValues =>
    Object.fromEntries(
      old
        .names()
        .filter((key) => key.startsWith(prefix) && !NOT_KEPT.test(key))
        .map((key) => [key, old.typed(key)]),
    );
  return { general: kept("general."), tokenizer: kept("tokenizer."), notes: [] };
}

/** What a model's folder is called; a snapshot in the hub's cache as the model is. */
function nameOf({ folder }: Checkpoint): string {
  const [, cached] = /models--(?:[^/\\]*--)?([^/\\]+)[/\\]snapshots[/\\]/.exec(folder.path) ?? [];
  return cached ?? folder.path.split(/[/\\]/).filter(Boolean).at(-1) ?? "model";
}

/**
 * The keys as the reader finds them in the file that is to be written.
 *
 * @throws PenjingError when it would read another model
 */
async function readKeys(
  { spec, checkpoint }: StoredModel,
  keys: KeyValues,
  { tensors }: Plan,
  factors: Readonly<Record<string, Float32Array>>,
): Promise<Keys> {
  const where = checkpoint.folder.path;
  const names = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const header = await readBack(where, makeHeader(where, keys, tensors));
  const read = new Keys(where, header.keys);
  const contents: Contents = {
    has: (name) => names.has(name),
    vocabSize: names.get("token_embd.weight")?.shape[0],
    factors: (name) => factors[name],
  };
  const arch = String(keys[ARCHITECTURE_KEY][1]);
  let found: Record<string, unknown>;
  try {
    found = configOf(read, contents);
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    throw new PenjingError(
      where,
      `a GGUF file of the architecture ${quote(arch)} has no words for it, as reading it back shows; choose another layout. ${error.message}`,
      { cause: error },
    );
  }
  checkTold(where, arch, spec, readModelConfig(where, found, { tensors: tensors.length }));
  return new Keys(where, header.keys);
}
