/** Which files of a repository make a model that is read here. */
import { PenjingError } from "../errors.js";
import { partNames } from "../platform/file-errors.js";
import { quote } from "../quote.js";
import { textOf } from "./names.js";
import type { Repository, RepositoryFile } from "./repository.js";

const WEIGHTS = "model.safetensors";
const INDEX = `${WEIGHTS}.index.json`;
/** Configuration, tokenizer, and what the licence asks to keep. */
const BESIDE =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map)\.json$|^chat_template\.[\w.]+$|^additional_chat_templates\/[^/]+\.jinja$|^(licen[cs]e|notice|use_policy)[^/]*$|^readme\.md$/i;
/** What an index may name. */
const SHARD = /^[^/\\:\0]+\.safetensors$/;
/** Longest index that is read, in bytes: the limit of what opens it later. */
export const LONGEST_INDEX = 100_000_000;
/** Names that a message lists. */
const LISTED = 6;

/** Reads a small file. */
export type ReadText = (file: RepositoryFile) => Promise<string>;

function list(names: readonly string[]): string {
  const more = names.length > LISTED ? ` and ${names.length - LISTED} more` : "";
  return names.slice(0, LISTED).map(quote).join(", ") + more;
}

/** The names of files; of the parts of one that was split, the first that is there. */
function eachOnce(files: Repository["files"]): string[] {
  const first = (name: string) => partNames(name)?.find((part) => files.has(part)) ?? name;
  return [...files.keys()].filter((name) => first(name) === name);
}

/**
 * The files of a model: its configuration, tokenizer and texts, and model.safetensors or the shards
 * that its index lists; or the one file that the name is of, with what belongs to it.
 *
 * @throws PenjingError when there are no weights in a form that is read, naming what there is instead
 */
export async function selectFiles(
  repository: Repository,
  readText: ReadText,
): Promise<RepositoryFile[]> {
  const { name, files } = repository;
  if (name.file !== undefined) return selectNamed(repository, name.file);
  if (name.kind === "datasets") throw wholeDataset(repository);
  const names = [...files.keys()];
  const beside = names.filter((one) => BESIDE.test(one));
  return [...beside, ...(await weightsOf(repository, readText))].map((one) => files.get(one)!);
}

/** Files of texts, of which one of a dataset has to be named. */
const TEXTS = /\.(parquet|jsonl?|ndjson|txt|raw)(\.gz)?$/i;

function wholeDataset({ name, files, asked }: Repository): PenjingError {
  const texts = [...files.keys()].filter((one) => TEXTS.test(one));
  const [first = "FILE"] = texts;
  const there = texts.length > 0 ? `it has ${list(texts)}; ` : "";
  const cure = `name one file, as in ${textOf({ ...name, file: first })}`;
  return new PenjingError(asked().where, `it is a dataset, and no model: ${there}${cure}.`);
}

function selectNamed({ files, asked }: Repository, wanted: string): RepositoryFile[] {
  const file = files.get(wanted);
  const parts = partNames(wanted) ?? [];
  const missing = parts.filter((part) => !files.has(part));
  if (missing.length < parts.length) {
    if (missing.length === 0) return parts.map((part) => files.get(part)!);
    throw new PenjingError(
      asked().where,
      `the model was split into ${parts.length} files, of which ${missing.length} are not in the repository: ${list(missing)}; take another file, or a revision that has them.`,
    );
  }
  if (!file) {
    const ending = /\.\w+$/.exec(wanted)?.[0] ?? "";
    const alike = eachOnce(files).filter((one) => one.endsWith(ending));
    const there = alike.length > 0 ? `; it has ${list(alike)}` : "";
    throw new PenjingError(asked().where, `the repository has no such file${there}.`);
  }
  if (!wanted.endsWith(".safetensors") || wanted.includes("/")) return [file];
  return [...[...files.values()].filter(({ path }) => BESIDE.test(path)), file];
}

/** The names of the files with the weights, and of their index. */
async function weightsOf(repository: Repository, readText: ReadText): Promise<string[]> {
  const { files } = repository;
  if (files.has(WEIGHTS)) return [WEIGHTS];
  const index = files.get(INDEX);
  if (index && index.size > LONGEST_INDEX) {
    const { where } = repository.asked(index);
    throw new PenjingError(
      where,
      `it has ${index.size} bytes, more than the ${LONGEST_INDEX} accepted; take another model.`,
    );
  }
  if (index) return [INDEX, ...shardsIn(await readText(index), repository)];
  const own = [...files.keys()].filter((one) => SHARD.test(one) && !one.startsWith("adapter_"));
  const isSet = own.every((one) => /-\d+-of-\d+\.safetensors$/.test(one));
  if (own.length === 1 || (own.length > 1 && isSet)) return own;
  throw noWeights(repository, own);
}

/** What an index lists; that it fits the shards is checked when they are opened. */
function shardsIn(text: string, { files, asked }: Repository): string[] {
  let shards: unknown[] = [];
  try {
    shards = [...new Set(Object.values(JSON.parse(text).weight_map))];
  } catch {
    // Refused below.
  }
  const bad = shards.find((shard) => typeof shard !== "string" || !SHARD.test(shard));
  if (shards.length === 0 || bad !== undefined) {
    const what = bad === undefined ? "lists no shards" : `lists ${quote(bad)}, which is no shard`;
    throw new PenjingError(asked(files.get(INDEX)).where, `it ${what}; take another model.`);
  }
  const missing = (shards as string[]).filter((shard) => !files.has(shard));
  if (missing.length === 0) return (shards as string[]).sort();
  throw new PenjingError(
    asked().where,
    `${missing.length} of the ${shards.length} shards that ${INDEX} lists are not in the repository: ${list(missing)}; take another revision.`,
  );
}

function noWeights({ name, files, asked }: Repository, own: readonly string[]): PenjingError {
  const fail = (sentence: string) => new PenjingError(asked().where, sentence);
  const names = [...files.keys()];
  const like = (file: string) => textOf({ ...name, file });
  if (own.length > 0) {
    return fail(
      `it has several files of weights and no index: ${list(own)}; name one, as in ${like(own[0])}.`,
    );
  }
  const gguf = eachOnce(files).filter((one) => /\.gguf$/i.test(one));
  if (gguf.length > 0) {
    return fail(`its weights are GGUF files: ${list(gguf)}; name one, as in ${like(gguf[0])}.`);
  }
  if (names.some((one) => one.startsWith("adapter_"))) {
    return fail(
      "it holds a LoRA adapter and not a whole model; merge it into its base model (with peft: merge_and_unload, then save_pretrained) and give the merged folder.",
    );
  }
  const others = names.filter((one) => /\.(bin|pth?|h5|msgpack|onnx|ckpt)$/.test(one));
  const found = others.length > 0 ? ` but ${list(others)}` : "";
  return fail(
    `it has no weights in safetensors${found}; take a model that has, or one that somebody converted.`,
  );
}
