import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../src/compress.js";
import { evaluatePerplexity } from "../src/evaluate.js";
import { generate } from "../src/generate.js";
import { windowBos, withBos } from "../src/models/bos.js";
import { openModel, runningModel } from "../src/models/open.js";
import { memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { repositoryRoot } from "./shared.js";

const test = suite("bos");

const model = `${repositoryRoot}/examples/stories-1m`;
const text = readFileSync(`${repositoryRoot}/README.md`, "utf8").slice(0, 4000);
const embedded = await openModel(model);
const { spec, tokenizer } = runningModel(embedded)!;
const bos = tokenizer.bosId ?? spec.bosIds[0];

test("windows hold the token as one of theirs", () => {
  assert.equal([...withBos(Int32Array.of(1, 2, 3, 4, 5), 3, 9)], [9, 1, 2, 9, 3, 4, 9, 5]);
  const source = { spec: { bosIds: [7] }, tokenizer: { bosId: undefined } };
  const needing = { ...source, spec: { bosIds: [7], needsBos: true } };
  assert.equal(
    (["auto", "always", "never", undefined] as const).map((mode) => windowBos(mode, source)),
    [undefined, 7, undefined, undefined],
  );
  assert.equal(
    (["auto", "always", "never", undefined] as const).map((mode) => windowBos(mode, needing)),
    [7, 7, undefined, 7],
  );
});

test("a model that names none cannot have one", async () => {
  const source = { spec: { bosIds: [] }, tokenizer: { bosId: undefined } };
  assert.is(windowBos("auto", source), undefined);
  await refused(() => windowBos("always", source), /name no BOS token; give `bos: never`/);
});

test("perplexity says what was added, and does not score it", async () => {
  const score = (options: object) =>
    evaluatePerplexity({ model: embedded, text, window: 32, ...options }).result();
  const plain = await score({});
  const ids = tokenizer.encode(text).length;
  assert.is(plain.bosId, undefined);
  assert.is(plain.windows, Math.floor(ids / 32));
  assert.is((await score({ bos: "never" })).nll, plain.nll);
  const begun = await score({ bos: "always" });
  assert.is(begun.bosId, bos);
  assert.is(begun.windows, Math.floor((ids + Math.ceil(ids / 31)) / 32));
  assert.is(begun.tokens, begun.windows * 31);
  assert.is.not(begun.nll, plain.nll);
  await refused(() => score({ bos: "sometimes" }), /bos is "sometimes", must be "auto", "always"/);
});

test("generate puts it in front of the prompt", async () => {
  const run = (options: object) =>
    generate({ model: embedded, prompt: "Once", maxNewTokens: 1, ...options }).result();
  const plain = [...tokenizer.encode("Once")];
  const asSaid = tokenizer.encode("Once", { addSpecialTokens: true });
  const auto = await run({});
  assert.equal(auto.promptIds, asSaid);
  const always = await run({ bos: "always" });
  assert.equal([...always.promptIds], [bos, ...plain]);
  assert.is(always.bosId, bos);
  const never = await run({ bos: "never" });
  assert.equal([...never.promptIds], plain);
  assert.is(never.bosId, undefined);
  await refused(() => run({ bos: "never", prompt: "" }), /it is empty/);
});

test("compress records what calibration windows begin with", async () => {
  const facts = async (options: object) => {
    const out = memoryOutputFolder();
    const recipe = { samples: 2, length: 16, method: "wanda" } as const;
    await compress({ model, calibration: text, out, recipe, ...options }).result();
    return JSON.parse(new TextDecoder().decode(out.files["penjing.json"])).calibration;
  };
  const plain = await facts({});
  assert.not("bosId" in plain);
  assert.equal(await facts({ bos: "always" }), { ...plain, bosId: bos });
});

test("the model is closed", () => embedded.close());

test.run();
