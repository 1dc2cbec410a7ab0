import type { Dataset } from "../datasets/dataset.js";
import type { DatasetDocument } from "../datasets/document.js";
import { PenjingError } from "../errors.js";
import type { StoppedBy } from "../generate/continuation.js";
import type { HowGenerated } from "../generate/texts.js";
import {
  type BatchGeneration,
  type GenerateBatchOptions,
  generateBatch,
} from "../generate-batch.js";
import { type PrintOptions, print, printJson, printNote, told } from "./console.js";
import { noteLine } from "./flags.js";
import { type ReadTextOptions, readTexts } from "./text.js";

/** Flags of prompts that are read from a file. */
export interface PromptsFlags {
  /** The file. */
  readonly prompts?: string;
  readonly textColumn?: string;
  readonly batch?: number;
}

/** Prompts that are held; a list that is longer is likely no list of prompts. */
const MOST_PROMPTS = 1_000_000;

/**
 * The prompts of a file: the lines of a plain text that are not blank, the texts or conversations of a dataset.
 *
 * @throws PenjingError when there are none, or what `readTexts` refuses
 */
export async function readPrompts(
  { prompts: path, textColumn: column }: PromptsFlags,
  options: Omit<ReadTextOptions, "reader">,
): Promise<DatasetDocument[]> {
  const given = await readTexts(path!, { reader: "--prompts", column, ...options });
  const prompts: DatasetDocument[] = [];
  for await (const one of documentsOf(given, options.signal)) {
    if (prompts.push(one) > MOST_PROMPTS) {
      throw new PenjingError(path!, `it has more than ${MOST_PROMPTS} prompts; give a part of it.`);
    }
  }
  if (prompts.length === 0) {
    throw new PenjingError(path!, "it has no prompts; write each on a line of its own.");
  }
  return prompts;
}

async function* documentsOf(
  given: string | Dataset,
  signal: AbortSignal | undefined,
): AsyncGenerator<DatasetDocument> {
  if (typeof given === "string") yield* linesOf(given);
  else if (given.facts?.format !== "text") yield* given.documents(signal);
  else for await (const text of given.documents(signal)) yield* linesOf(text as string);
}

function linesOf(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== "");
}

/** Generates from all prompts, and prints each text once it and those before it are there. */
export async function runBatch(options: GenerateBatchOptions, printing: PrintOptions) {
  const { json, quiet, jsonLines } = printing;
  const work = generateBatch(options);
  const texts = new Map<number, string>();
  let next = 0;
  const show = () => {
    for (; texts.has(next); next++) {
      if (next > 0) print("");
      print(texts.get(next)!);
      texts.delete(next);
    }
  };
  for await (const event of told("generate", work, printing)) {
    if (event.type === "note" && !quiet && !jsonLines) printNote(noteLine(event));
    if (event.type !== "generated" || json) continue;
    texts.set(event.index, event.text);
    show();
  }
  const result = await work.result();
  if (json) {
    printJson(result, printing);
    return result;
  }
  // Of no new tokens nothing was told.
  for (let i = next; i < result.texts.length; i++) texts.set(i, result.texts[i].text);
  show();
  if (!quiet) printNote(summaryOf(result));
  return result;
}

/** How fast tokens came, and on what. */
export function rateOf({ tokensPerSecond, backend, activations, kvCache }: HowGenerated): string {
  const how = [
    activations && `${activations} activations`,
    kvCache && `${kvCache} key-value cache`,
  ];
  const where = [backend, ...how].filter((one) => one).join(", ");
  return `${tokensPerSecond.toFixed(1)} tokens/s on ${where}`;
}

function summaryOf(result: BatchGeneration): string {
  const { texts } = result;
  const tokens = texts.reduce((sum, { ids }) => sum + ids.length, 0);
  const ends = new Map<StoppedBy, number>();
  for (const { stoppedBy } of texts) ends.set(stoppedBy, (ends.get(stoppedBy) ?? 0) + 1);
  const stopped = [...ends].map(([by, count]) => `${by} (${count})`).join(", ");
  return `${tokens} tokens of ${texts.length} prompts at ${rateOf(result)}; stopped by ${stopped}`;
}
