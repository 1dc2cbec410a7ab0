/** Downloads from a fake hub, and how they end. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type DownloadEvent,
  type DownloadedModel,
  downloadModel,
  type HubOptions,
} from "../../src/index.js";
import { scratch } from "../cli/program.js";
import { startHub, storyFiles } from "./models.js";

export interface Ended {
  readonly model: DownloadedModel;
  readonly events: readonly DownloadEvent[];
  readonly notes: readonly string[];
}

export async function download(name: string, options: HubOptions): Promise<Ended> {
  const run = downloadModel(name, options);
  const events: DownloadEvent[] = [];
  for await (const event of run) events.push(event);
  const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  return { model: await run.result(), events, notes };
}

/** The message of a download that must fail with one sentence. */
async function refusal(name: string, options: HubOptions): Promise<string> {
  try {
    await download(name, options);
  } catch (error) {
    assert.is((error as Error).name, "PenjingError", String((error as Error).stack));
    return (error as Error).message;
  }
  throw new Error(`${name} was downloaded`);
}

/** A suite of tests with a fake hub, which forgets before each of them, and with caches to download into. */
export async function hubSuite(name: string) {
  const test = suite(name);
  const folder = scratch(test);
  const hub = await startHub();
  test.before.each(() => hub.reset());
  test.after(() => hub.close());
  let caches = 0;
  return {
    ...{ test, hub },
    /** A cache that nothing is in. */
    newCache: () => join(folder, `cache-${++caches}`),
    /** Downloads from the fake hub. */
    download: (model: string, options: HubOptions) =>
      download(model, { endpoint: hub.url, ...options }),
    refusal: (model: string, options: HubOptions) =>
      refusal(model, { endpoint: hub.url, ...options }),
  };
}

/** Whether a folder holds the model "org/stories", and nothing else. */
export function assertWhole(path: string): void {
  const stories = storyFiles();
  const names = readdirSync(path).filter((name) => name !== "LICENSE");
  assert.equal(names.sort(), Object.keys(stories).sort());
  for (const name of names) {
    assert.equal(new Uint8Array(readFileSync(join(path, name))), stories[name], name);
  }
}
