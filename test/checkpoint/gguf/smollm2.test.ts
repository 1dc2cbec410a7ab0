import { dirname } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hasRelaxedSimd } from "../../../src/backends/wasm/module.js";
import { castCheckpoint } from "../../../src/checkpoint/cast.js";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { generate } from "../../../src/generate.js";
import { inspect } from "../../../src/inspect.js";
import { faceOf, openRunning } from "../../../src/models/open.js";
import { losses } from "../../losses.js";
import { execute, findNode } from "../../runtimes/programs.js";
import { ASKED_VARIABLE, note } from "../../shared.js";
import { yardstickFigures, yardstickPath, yardstickTest } from "../../yardstick.js";

const test = suite("SmolLM2 from its GGUF");

interface Figures {
  readonly ids: readonly number[];
  readonly nll: readonly number[];
  readonly greedyFrom16: readonly number[];
}

interface Logits extends Record<"smollm2.q4_1.gguf" | "smollm2", Figures> {
  readonly chat: {
    readonly messages: { role: string; content: string }[];
    readonly ids: readonly number[];
    readonly answer: string;
  };
}

const MODES = { baseline: 2e-4, relaxed: 2e-3 } as const;

const FORMS = ["smollm2.q4_1.gguf", "smollm2"] as const;

/** Holds a form of the model against what transformers computed from it. */
async function compare(name: (typeof FORMS)[number], simd: keyof typeof MODES): Promise<void> {
  const figures = yardstickFigures<Logits>("logits.json");
  const { ids, nll, greedyFrom16 } = figures[name];
  const running = await openRunning(yardstickPath(name), {
    ...{ backend: "wasm", threads: 1, simd, maxTokens: 256 },
  });
  try {
    const found = await losses(running, Int32Array.from(ids));
    const worst = nll.reduce((most, one, i) => Math.max(most, Math.abs(one - found[i])), 0);
    note(`${name}, ${simd} SIMD: largest difference of a log-likelihood ${worst.toExponential(1)}`);
    assert.ok(worst <= MODES[simd], `${worst} is more than ${MODES[simd]}`);
    const model = faceOf(running);
    const { tokenizer } = model;
    assert.equal([...tokenizer.encode(tokenizer.decode(ids))], [...ids]);
    const prompt = tokenizer.decode(ids.slice(0, 16));
    const written = await generate({ model, prompt, maxNewTokens: 32, ignoreEos: true }).result();
    assert.equal([...written.promptIds], ids.slice(0, 16));
    assert.equal([...written.ids], [...greedyFrom16]);
    const { messages, answer, ids: chatIds } = figures.chat;
    const told = await generate({ model, messages, maxNewTokens: 32 }).result();
    assert.equal([...told.promptIds], [...chatIds]);
    assert.is(told.text.trim(), answer);
  } finally {
    await running.close();
  }
}

/** Set where this file runs on another runtime, for the mode that this one lacks. */
const OTHER = "PENJING_TEST_RELAXED_ALONE";
const isOther = process.env[OTHER] !== undefined;
const isHere = (simd: string) => (simd === "relaxed" ? hasRelaxedSimd() : !isOther);

for (const name of FORMS) {
  for (const simd of Object.keys(MODES) as (keyof typeof MODES)[]) {
    if (!isHere(simd)) continue;
    yardstickTest(test, `${name} is what transformers computed, ${simd} SIMD`, () =>
      compare(name, simd),
    );
  }
}

if (!hasRelaxedSimd()) {
  const program = findNode(24) ?? findNode(22);
  yardstickTest(test, "and with relaxed SIMD, on a Node that has it", async () => {
    assert.ok(program, "there is no Node 22 or 24");
    const [, file] = process.argv;
    const env = { ...process.env, [OTHER]: "1", [ASKED_VARIABLE]: "" };
    const { code, stdout, stderr } = await execute(program.path, [file], dirname(file), env);
    assert.is(code, 0, `${stdout}${stderr}`);
    for (const [line] of stdout.matchAll(/(?<=NOTE ).*relaxed SIMD.*/g)) note(line);
    assert.match(stdout, /Passed: +2/);
  });
}

if (!isOther) {
  yardstickTest(test, "its tensors, rounded to bf16, are those of the folder", async () => {
    const stored = await openCheckpoint(yardstickPath("smollm2.q4_1.gguf"));
    const file = await castCheckpoint(stored, "bf16");
    const folder = await openCheckpoint(yardstickPath("smollm2"));
    assert.equal([...file.tensors.keys()].sort(), [...folder.tensors.keys()].sort());
    for (const [name, { shape, dtype }] of folder.tensors) {
      const found = file.tensors.get(name)!;
      assert.equal([found.shape, found.dtype], [shape, dtype]);
      const [a, b] = [await file.read(name), await folder.read(name)];
      assert.is(Buffer.compare(a, b), 0, name);
    }
    await file.close();
    await folder.close();
  });

  yardstickTest(test, "it is opened and looked at in little time", async () => {
    // Other programs slow a look down, by more than the processor's time tells: the quickest counts.
    const looks: number[] = [];
    while (looks.length < 5 && Math.min(...looks) > 1.5) {
      const before = process.cpuUsage();
      const started = performance.now();
      const { tensors } = await inspect(yardstickPath("smollm2.q4_1.gguf")).result();
      const seconds = (performance.now() - started) / 1000;
      const { user, system } = process.cpuUsage(before);
      looks.push(Math.min(seconds, (user + system) / 1e6));
      assert.is(tensors.length, 272);
    }
    const shown = looks.map((seconds) => seconds.toFixed(2)).join(", ");
    note(`inspect of 98 MB of GGUF: ${shown} s`);
    assert.ok(Math.min(...looks) <= 1.5, `${shown} s`);
  });
}

test.run();
