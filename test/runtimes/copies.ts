/** Two copies of the package in one process: copies.js; reads input.json, writes output.json. */
import { readFileSync, writeFileSync } from "node:fs";
import type * as Penjing from "../../src/index.js";
import { decode, refusal, type SmokeInput, smoke } from "./smoke.js";

const load = (name: string): Promise<typeof Penjing> => import(name);
const [one, other] = [await load("penjing"), await load("penjing-copy")];
const input: SmokeInput = JSON.parse(readFileSync("input.json", "utf8"));
const results = await Promise.all([one, other].map((copy) => smoke(copy, input, "wasm")));

const files = Object.entries(input.model).map(([file, text]) => [file, decode(text)] as const);
const folder = one.memoryFolder(Object.fromEntries(files), "model");
// A backend of one, a checkpoint of the same, and the other's functions over both.
const backend = await one.openBackend("wasm");
const model = await other.openModel(await one.openCheckpoint(folder), { backend, maxTokens: 64 });
const { prompt } = input;
const mixed = await one.generate({ model, prompt, maxNewTokens: 6 }).result();
const served = backend.served().find(({ operation }) => operation === "rmsNorm");

/** An error of the one is not an instance of the other's class, but says the same. */
const path = "no/such/folder";
const refusals = [
  await refusal(one, () => other.openModel(path)),
  await refusal(other, () => other.openModel(path)),
];
const areSame = one.PenjingError === other.PenjingError;
writeFileSync(
  "output.json",
  JSON.stringify({ results, ids: [...mixed.ids], calls: served?.calls, refusals, areSame }),
);
