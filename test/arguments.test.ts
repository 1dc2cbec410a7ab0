import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as penjing from "../src/index.js";

const test = suite("arguments");

type Call = (...args: unknown[]) => unknown;
const calls = penjing as unknown as Readonly<Record<string, Call>>;

/** The call, what it is given, and what it says. */
const WRONG: readonly (readonly [string, readonly unknown[], RegExp])[] = [
  ["compress", [], /^\[compress\] model is missing; give a model folder's path, /],
  ["compress", [{}], /^\[compress\] model is missing/],
  ["compress", ["m"], /^\[compress\] its options are "m", must be one object/],
  ["compress", [{ model: 5 }], /^\[compress\] model is 5, must be a model folder's path, /],
  ["compress", [{ model: "m" }], /^\[compress\] out is missing; give a path, or an output folder/],
  [
    "compress",
    [{ model: "m", out: "o", calibration: 7 }],
    /calibration is 7, must be a text, or a dataset/,
  ],
  ["compress", [{ modle: "m" }], /^\[compress\] "modle" is not .*did you mean "model"/],
  ["generate", [], /^\[generate\] model is missing/],
  ["generate", [{ model: {} }], /^\[generate\] model is an object \(Object\), must be /],
  ["generate", [{ model: "m" }], /^\[generate\] prompt is missing; give the text to continue/],
  ["generate", [{ model: "m", prompt: "p", backend: 3 }], /backend is 3, must be a backend's name/],
  ["evaluatePerplexity", [{}], /^\[evaluatePerplexity\] model is missing/],
  ["evaluatePerplexity", [{ model: "m" }], /text is missing; give the text to score/],
  ["exportModel", [], /^\[exportModel\] model is missing/],
  ["exportModel", [{}], /^\[exportModel\] model is missing/],
  [
    "exportModel",
    [{ model: "m", out: "o", force: "yes" }],
    /force is "yes", must be true or false/,
  ],
  [
    "exportModel",
    [{ model: "m", out: "o", imatrix: 5 }],
    /imatrix is 5, must be a file's path, or/,
  ],
  ["importanceMatrix", [], /^\[importanceMatrix\] model is missing/],
  [
    "importanceMatrix",
    [{ model: "m", out: "i.gguf" }],
    /calibration is missing; give a text, or a dataset/,
  ],
  ["inspect", [], /^\[inspect\] source is missing/],
  ["inspect", ["m", { signal: true }], /^\[inspect\] signal is true, must be an AbortSignal/],
  ["openModel", [], /^\[openModel\] source is missing/],
  ["openModel", ["m", { maxTokens: "9" }], /^\[openModel\] maxTokens is "9", must be a number/],
  ["openCheckpoint", [undefined], /^\[openCheckpoint\] path is missing; give a folder's path/],
  ["openBackend", [null], /^\[openBackend\] name is null, must be text/],
  ["loadTokenizer", ["m"], /^\[loadTokenizer\] folder is "m", must be an open folder/],
  ["pruneLinear", [], /^\[pruneLinear\] weight is missing; give a Float32Array/],
  [
    "pruneLinear",
    [{ weight: [1] }],
    /weight is an object \(Array\), must be a Float32Array; convert/,
  ],
  ["packMatrix", [], /^\[packMatrix\] layout is missing; give a layout's name/],
  [
    "packMatrix",
    ["dense"],
    /^\[packMatrix\] weight is missing; give a Float32Array, a Uint16Array/,
  ],
  ["unpackMatrix", [], /^\[unpackMatrix\] layout is missing/],
  ["packTwoFour", [], /^\[packTwoFour\] weight is missing; give a typed array/],
  ["unpackTwoFour", [{}], /^\[unpackTwoFour\] values is missing/],
];

/** The error of a call, whether it throws, rejects, or runs into it. */
async function errorOf(name: string, args: readonly unknown[]): Promise<unknown> {
  try {
    const made = calls[name](...args);
    await (made instanceof Object && "result" in made ? (made.result as Call)() : made);
  } catch (error) {
    return error;
  }
  return undefined;
}

for (const [name, args, message] of WRONG) {
  test(`${name}(${JSON.stringify(args).slice(1, -1)}) says ${message.source}`, async () => {
    const error = await errorOf(name, args);
    assert.instance(error, penjing.PenjingError);
    const text = (error as Error).message;
    assert.match(text, message);
    assert.match(text, /^[^\n]+\.$/);
  });
}

test.run();
