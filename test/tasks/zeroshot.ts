import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sharedPath } from "../shared.js";

/**
 * Writes the first rows of each task into a file of their own, with the labels that PIQA has apart. Needs
 * ../shared.
 *
 * @returns the files by the tasks' names
 */
export function zeroshotFiles(folder: string, limit: number): Record<string, string> {
  const data = (...parts: string[]) =>
    readFileSync(sharedPath("data", "zeroshot", ...parts), "utf8")
      .trim()
      .split("\n");
  const labels = data("piqa", "valid-labels.lst");
  const rows: Record<string, string[]> = {
    piqa: data("piqa", "valid.jsonl").map((line, i) =>
      JSON.stringify({ ...JSON.parse(line), label: Number(labels[i]) }),
    ),
    winogrande: data("winogrande", "dev.jsonl"),
    hellaswag: data("hellaswag", "hellaswag_val_sample1000_original_format.jsonl"),
    arc_easy: data("arc", "ARC-Easy-Test.jsonl"),
    arc_challenge: data("arc", "ARC-Challenge-Test.jsonl"),
  };
  const made = Object.entries(rows).map(([name, lines]) => {
    mkdirSync(join(folder, name));
    const path = join(folder, name, `${name}.jsonl`);
    writeFileSync(path, lines.slice(0, limit).join("\n"));
    return [name, path] as const;
  });
  return Object.fromEntries(made);
}
