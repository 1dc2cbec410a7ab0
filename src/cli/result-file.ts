import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { PenjingError } from "../errors.js";
import type { AnswerStore, Likelihood } from "../evaluate-tasks.js";
import { fileError } from "../platform/file-errors.js";
import { type PrintOptions, printNote } from "./console.js";

/** What an answer is in the file of answers: its sum, and whether it is greedy. */
type StoredAnswer = readonly [number, boolean];

/** Answers that are kept beside the file of results until that is written. */
export class ResultFile implements AnswerStore {
  private readonly kept: Map<string, StoredAnswer>;
  private checked = false;

  private constructor(
    private readonly path: string,
    kept: ReadonlyMap<string, StoredAnswer>,
  ) {
    this.kept = new Map(kept);
  }

  private static partial(path: string): string {
    return `${path}.partial`;
  }

  /**
   * @throws PenjingError when the file is there already, cannot be written, or its answers are no such
   */
  static async open(path: string, printing: PrintOptions): Promise<ResultFile> {
    if (await stat(path).catch(() => undefined)) {
      throw new PenjingError(path, "it is there already; move it away, or give another --out.");
    }
    const partial = ResultFile.partial(path);
    // That it can be written is seen before the work.
    await writeFile(partial, "", { flag: "a" }).catch((error) => {
      throw fileError(partial, "opening", error);
    });
    const lines = (await readFile(partial, "utf8")).split("\n");
    // A last line without its end was being written when the run ended.
    const torn = lines.pop()!;
    const kept = new Map(lines.map((line, i) => readAnswer(line, `${partial}, line ${i + 1}`)));
    if (torn !== "") await writeFile(partial, lines.map((line) => `${line}\n`).join(""));
    if (kept.size > 0 && !printing.quiet && !printing.jsonLines) {
      printNote(`note: ${partial}: ${kept.size} answers of an earlier run are taken from it`);
    }
    return new ResultFile(path, kept);
  }

  get(key: string) {
    this.refuseOthers(key);
    const found = this.kept.get(key);
    return found && { sum: found[0], isGreedy: found[1] };
  }

  /** @throws PenjingError when no answer is of the model that is asked */
  private refuseOthers(key: string): void {
    if (this.checked) return;
    this.checked = true;
    const subject = `${key.split("/")[0]}/`;
    if (this.kept.size === 0 || [...this.kept.keys()].some((one) => one.startsWith(subject)))
      return;
    throw new PenjingError(
      ResultFile.partial(this.path),
      "it has answers of another model, or of another arithmetic; remove it, or give another --out.",
    );
  }

  async set(key: string, { sum, isGreedy }: Likelihood): Promise<void> {
    const partial = ResultFile.partial(this.path);
    await writeFile(partial, `${JSON.stringify([key, sum, isGreedy])}\n`, { flag: "a" }).catch(
      (error) => {
        throw fileError(partial, "writing", error);
      },
    );
  }

  /** Whether there is anything to go on with. */
  async hasAnswers(): Promise<boolean> {
    const found = await stat(ResultFile.partial(this.path)).catch(() => undefined);
    return found !== undefined && found.size > 0;
  }

  /** Writes the results and forgets the answers. */
  async finish(results: unknown): Promise<void> {
    const partial = ResultFile.partial(this.path);
    const next = `${this.path}.next`;
    try {
      await writeFile(next, `${JSON.stringify(results, null, 2)}\n`);
      await rename(next, this.path);
    } catch (error) {
      await rm(next, { force: true });
      throw fileError(this.path, "writing", error);
    }
    await rm(partial, { force: true });
  }

  /** Leaves nothing behind where nothing was answered. */
  async leave(): Promise<void> {
    if (!(await this.hasAnswers())) await rm(ResultFile.partial(this.path), { force: true });
  }
}

function readAnswer(line: string, where: string): [string, StoredAnswer] {
  try {
    const [key, sum, isGreedy] = JSON.parse(line) as unknown[];
    if (typeof key === "string" && Number.isFinite(sum) && typeof isGreedy === "boolean") {
      return [key, [sum as number, isGreedy]];
    }
  } catch {
    // Said below.
  }
  throw new PenjingError(where, "it is no answer of a task; remove the file and begin anew.");
}
