import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { TokenizerOptions } from "../checkpoint/overlay.js";
import type { Activations } from "../forms/integer.js";
import { activationsOf, checkActivations, type RoundedActivations } from "../models/activations.js";
import {
  type OpenModel,
  openingNotes,
  openRunning,
  type RunningModel,
  runningModel,
} from "../models/open.js";
import type { PluginOptions } from "../plugin.js";
import type { Continuation } from "./continuation.js";
import {
  type Added,
  type Clock,
  type ContinueOptions,
  continueTexts,
  type Note,
} from "./continue.js";

export type { Note } from "./continue.js";

export interface TextsOptions
  extends BackendOptions,
    PluginOptions,
    TokenizerOptions,
    ContinueOptions {
  readonly model: string | Checkpoint | OpenModel;
  readonly maxMemory?: number | undefined;
  /** @default "int8", or that of an open model */
  readonly activations?: Activations | undefined;
}

/** What is to be generated, told and handed over. */
export interface Texts<Event, Result> {
  /** Texts that are generated together at most. */
  readonly atOnce: number;
  begin(model: RunningModel): Promise<readonly Continuation[]>;
  tell(added: Added): Iterable<Event>;
  end(model: RunningModel, texts: readonly Continuation[], clock: Clock): Result;
}

/** What a result says of how it came about. */
export interface HowGenerated extends RoundedActivations {
  /** Generated tokens per second, the prompts' passes left out. */
  readonly tokensPerSecond: number;
  readonly backend: string;
  /** "int8" where keys and values were held as int8; else absent. */
  readonly kvCache?: "int8" | undefined;
  /** Which backend served what, and why. */
  readonly served: readonly ServedOperation[];
}

export function howGenerated(
  { backendName, decoder, served }: RunningModel,
  tokens: number,
  { seconds, kvCache }: Clock,
): HowGenerated {
  return {
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
    backend: backendName,
    ...activationsOf(decoder),
    ...(kvCache === "int8" && { kvCache }),
    served: served(),
  };
}

/**
 * Generates texts with a model that is open, or is opened and closed again. Where the GPU fails that was chosen
 * for it, they go on in WebAssembly.
 *
 * @throws PenjingError as `openModel` and `continueTexts` do; the signal's reason when it was aborted
 */
export async function* generateTexts<Event, Result>(
  options: TextsOptions,
  { atOnce, begin, tell, end }: Texts<Event, Result>,
): AsyncGenerator<Event | Note, Result, void> {
  const { model: source, maxNewTokens } = options;
  const running = runningModel(source);
  checkActivations(options.activations, running);
  let own = running
    ? undefined
    : await openRunning(source as string | Checkpoint, {
        ...options,
        activations: options.activations ?? "int8",
        cacheTokens: maxNewTokens,
        caches: atOnce,
      });
  const model = own ?? running!;
  const clock: Clock = { seconds: 0 };
  try {
    yield* openingNotes(model);
    const texts = await begin(model);
    for (;;) {
      const current = own ?? model;
      const rows = Math.min(atOnce, current.decoder.maxTokens);
      try {
        for await (const added of continueTexts(current, options, texts, rows, clock)) {
          if ("type" in added) yield added;
          else yield* tell(added);
        }
        return end(current, texts, clock);
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
      }
    }
  } finally {
    await own?.close();
  }
}
