/** Runs in Node, Deno or Bun: hub-script.js ENDPOINT CACHE, prints what a model on a fake hub gives. */
import type * as Penjing from "../../src/index.js";

/** What is printed, as JSON. */
export interface HubAnswers {
  readonly path: string;
  readonly fetchedBytes: number;
  readonly events: number;
  readonly offline: string;
  /** Tensors, their bytes, and the path of the streamed model. */
  readonly inspected: readonly [number, number, string];
  /** SHA-256 of a streamed file. */
  readonly streamed: string;
  readonly refusals: readonly string[];
  readonly aborted: string;
}

/** Imports a package that is installed beside this script, unknown to the compiler. */
const load = (name: string) => import(name);

const { downloadModel, inspect, openHubFolder }: typeof Penjing = await load("penjing");
const [endpoint, cacheDir] = process.argv.slice(2);
const where = { endpoint, cacheDir };

const refusalOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "nothing was refused",
    (error: Error) => `${error.name}: ${error.message}`,
  );

let events = 0;
const run = downloadModel("org/stories", where);
for await (const _ of run) events++;
const { path, fetchedBytes } = await run.result();
const offline = await downloadModel("org/stories", { ...where, offline: true }).result();
const { tensors, bytes, path: name } = await inspect("org/stories", { hub: where }).result();
const folder = await openHubFolder("org/stories", where);
const file = await folder.open("model.safetensors");
const whole = await file.read(0, file.size);
const hash = await crypto.subtle.digest("SHA-256", whole as Uint8Array<ArrayBuffer>);
const abort = new AbortController();
setTimeout(() => abort.abort(), 300);
const answers: HubAnswers = {
  ...{ path, fetchedBytes, events, offline: offline.path },
  inspected: [tensors.length, bytes, name],
  streamed: Array.from(new Uint8Array(hash), (b) => b.toString(16).padStart(2, "0")).join(""),
  refusals: [
    await refusalOf(openHubFolder("org/nothing", where)),
    await refusalOf(openHubFolder("org/gated", where)),
    await refusalOf(openHubFolder("org/stories", { endpoint: "http://127.0.0.1:1" })),
    await refusalOf(openHubFolder("org/gated", { ...where, token: "hf_ok" })),
  ],
  aborted: await refusalOf(
    downloadModel("org/silent", { ...where, signal: abort.signal }).result(),
  ),
};
process.stdout.write(`${JSON.stringify(answers)}\n`);
