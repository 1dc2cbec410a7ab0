import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tasksJson } from "../../src/cli/tasks.js";
import { evaluateTasks } from "../../src/evaluate-tasks.js";
import { askProgram, hasModules, withoutPython } from "../oracles/oracles.js";
import { hasShared, note, repositoryRoot, skipUnless } from "../shared.js";
import { zeroshotFiles } from "./zeroshot.js";

const test = suite("tasks as lm-evaluation-harness answers them");
const MODEL = join(repositoryRoot, "examples", "stories-1m");
const LIMIT = 100;

interface Theirs {
  readonly acc: number | null;
  readonly acc_norm: number | null;
  readonly perplexity: number | null;
  readonly logLikelihoods: readonly (readonly number[])[];
}

const folder = mkdtempSync(join(tmpdir(), "penjing-lm-eval-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** LAMBADA's and BLiMP's rules in the form of its task files. */
const OWN = {
  last_word: {
    output_type: "loglikelihood",
    test_split: "test",
    doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}",
    doc_to_target: "{{' '+text.split(' ')[-1]}}",
    metric_list: [
      { metric: "perplexity", aggregation: "perplexity", higher_is_better: false },
      { metric: "acc", aggregation: "mean", higher_is_better: true },
    ],
  },
  pairs: {
    output_type: "multiple_choice",
    test_split: "test",
    doc_to_text: "",
    doc_to_target: 0,
    doc_to_choice: "{{[sentence_good, sentence_bad]}}",
    metric_list: [{ metric: "acc" }],
  },
};

const [canRun, reason] = hasShared()
  ? [hasModules("lm_eval"), withoutPython("lm_eval")]
  : [false, "../shared is not there"];

skipUnless(test, canRun, reason, "five tasks and two of our own, request by request", async () => {
  const known = zeroshotFiles(folder, LIMIT);
  const lines = readFileSync(join(MODEL, "evaluation.txt"), "utf8").split("\n");
  const texts = lines.map((line) => line.trim()).filter((line) => line.includes(" "));
  const lastWord = join(folder, "last_word.jsonl");
  writeFileSync(lastWord, texts.map((text) => JSON.stringify({ text })).join("\n"));
  const pairs = join(repositoryRoot, "examples", "tasks", "minimal-pairs.jsonl");
  const data = { ...known, last_word: lastWord, pairs };
  const scores = await evaluateTasks({
    model: MODEL,
    tasks: [
      ...Object.keys(known),
      {
        task: "last_word",
        data: lastWord,
        context: "{{ text.split(' ')[:-1] | join(' ') }}",
        continuation: "{{ text.split(' ') | last }}",
      },
      {
        task: "pairs",
        data: pairs,
        context: "",
        choices: ["{{ sentence_good }}", "{{ sentence_bad }}"],
        gold: 0,
        metric: "acc",
      },
    ],
    files: known,
    limit: LIMIT,
    backend: "wasm",
    simd: "baseline",
  }).result();
  const { tasks } = scores;
  const results = tasksJson(MODEL, { limit: LIMIT }, scores);
  const theirs = askProgram(
    { model: MODEL, data, own: OWN, limit: LIMIT, results },
    ...["tasks", "lm-eval.py"],
  ) as Record<string, Theirs> & { readonly table: string };
  // Its own reader takes our results.
  assert.match(theirs.table, /\|piqa +\| *1\|none +\| +0\|acc +\|↑ +\| *0\.\d{4}\|± +\|0\.\d{4}\|/);
  assert.match(theirs.table, /\|perplexity *\|↓/);
  let [worst, requests] = [0, 0];
  for (const { task, accuracies, logLikelihoods, perplexity } of tasks) {
    const own = theirs[task];
    assert.is(logLikelihoods.length, own.logLikelihoods.length, task);
    for (const [i, sums] of logLikelihoods.entries()) {
      assert.is(sums.length, own.logLikelihoods[i].length, `${task} ${i}`);
      for (const [j, sum] of sums.entries()) {
        worst = Math.max(worst, Math.abs(sum - own.logLikelihoods[i][j]));
        requests++;
      }
    }
    const close = (a: number | undefined, b: number | null) =>
      assert.ok(b === null || Math.abs(a! / b - 1) < 1e-4 || a === b, `${task}: ${a}, ${b}`);
    close(accuracies.acc?.value, own.acc);
    if (accuracies.acc_norm) close(accuracies.acc_norm.value, own.acc_norm);
    close(perplexity, own.perplexity);
  }
  note(`${requests} requests: log-likelihoods within ${worst.toExponential(1)} of lm-eval's`);
  assert.ok(worst < 1e-3, `${worst}`);
});

test.run();
