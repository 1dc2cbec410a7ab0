/**
 * The five tasks of the papers on pruning, as lm-evaluation-harness asks them: zero-shot, no description.
 * PIQA (arXiv 1911.11641), ARC (arXiv 1803.05457), HellaSwag (arXiv 1905.07830), WinoGrande (arXiv
 * 1907.10641).
 */
import { PenjingError } from "../errors.js";
import { itemOf, objectIn, refuseCell, textIn, textsIn } from "./cells.js";
import type { KnownTask } from "./task.js";

const BY_LENGTH = ["acc", "acc_norm", "acc_bytes"] as const;

const piqa: KnownTask = {
  name: "piqa",
  files: /(^|\/)(valid|piqa.*)\.(jsonl|parquet)$/i,
  labels: /(^|\/)valid-labels\.lst$/i,
  metric: "acc_norm",
  metrics: BY_LENGTH,
  item(row, label) {
    const context = `Question: ${textIn(row, "goal")}\nAnswer:`;
    const choices = ["sol1", "sol2"].map((name) => ({ context, continuation: textIn(row, name) }));
    const own = row.cells.label ?? label;
    if (own === undefined) {
      throw new PenjingError(
        row.where,
        "it has no label, and PIQA's labels are in a file of their own; give the folder that has both, and not one file.",
      );
    }
    return itemOf(row, "label", own, { choices, gold: place(own) });
  },
};

/** A place that a number or its digits name. */
function place(value: unknown): number {
  return typeof value === "string" && value.trim() !== "" ? Number(value) : (value as number);
}

function arc(name: string, files: RegExp): KnownTask {
  return {
    ...{ name, files, metric: "acc_norm", metrics: BY_LENGTH },
    item(row) {
      const context = `Question: ${textIn(row, "question")}\nAnswer:`;
      const { text, label } = objectIn(row, "choices");
      const choices = textsIn(row, "choices", text).map((continuation) => ({
        context,
        continuation,
      }));
      const key = textIn(row, "answerKey");
      const gold = textsIn(row, "choices", label).indexOf(key);
      return itemOf(row, "answerKey", key, { choices, gold });
    },
  };
}

/** WikiHow's marks are taken out, in the order of the original. */
function plain(text: string): string {
  return text
    .trim()
    .replaceAll(" [title]", ". ")
    .replaceAll(/\[.*?\]/g, "")
    .replaceAll("  ", " ");
}

/** As Python's `capitalize`: the first character large, all others small. */
function capitalised(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

const hellaswag: KnownTask = {
  name: "hellaswag",
  files: /(^|\/)hellaswag.*\.(jsonl|parquet)$/i,
  metric: "acc_norm",
  metrics: BY_LENGTH,
  item(row) {
    const [label, a, b] = ["activity_label", "ctx_a", "ctx_b"].map((name) => textIn(row, name));
    const context = plain(`${label}: ${a} ${capitalised(b)}`);
    const choices = textsIn(row, "endings", row.cells.endings).map((ending) => ({
      context,
      continuation: plain(ending),
    }));
    const { label: gold } = row.cells;
    return itemOf(row, "label", gold, { choices, gold: place(gold) });
  },
};

/** Where a sentence leaves its option out. */
const GAP = "_";

const winogrande: KnownTask = {
  name: "winogrande",
  files: /(^|\/)(dev|winogrande.*)\.(jsonl|parquet)$/i,
  metric: "acc",
  metrics: ["acc"],
  item(row) {
    const sentence = textIn(row, "sentence");
    const at = sentence.indexOf(GAP);
    if (at < 0) refuseCell(row, "sentence", sentence, `a text with ${GAP}`);
    const continuation = sentence.slice(at + GAP.length).trim();
    const choices = ["option1", "option2"].map((name) => ({
      context: sentence.slice(0, at) + textIn(row, name),
      continuation,
    }));
    const answer = textIn(row, "answer");
    return itemOf(row, "answer", answer, { choices, gold: place(answer) - 1 });
  },
};

/** In the order of the papers' tables. */
export const TASKS: Readonly<Record<string, KnownTask>> = {
  piqa,
  winogrande,
  hellaswag,
  arc_easy: arc("arc_easy", /(^|\/)arc[-_]?easy.*\.(jsonl|parquet)$/i),
  arc_challenge: arc("arc_challenge", /(^|\/)arc[-_]?challenge.*\.(jsonl|parquet)$/i),
};
