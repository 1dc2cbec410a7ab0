import { appendFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PenjingError } from "../errors.js";
import type { AnswerStore, Likelihood } from "../evaluate-tasks.js";
import { fileError } from "../platform/file-errors.js";
import { openWorkFolder } from "../platform/files.js";
import type { WorkFolder } from "../platform/work-folder.js";
import { type PrintOptions, printNote } from "./console.js";

/** The file of answers in the folder of unfinished work: [key, sum, isGreedy] in each line. */
const ANSWERS = "answers";
const ON_DISK = `${ANSWERS}.kept`;

/** A file of results, and the answers that are kept in a folder beside it until it is written. */
export class ResultFile implements AnswerStore {
  /** Whether the answers are of the models that are asked. */
  private isOurs = false;

  private constructor(
    private readonly path: string,
    private readonly work: WorkFolder,
    private readonly kept: Map<string, Likelihood>,
  ) {}

  /**
   * @throws PenjingError when the file is there already, cannot be written, another process works on it,
   *   or the answers beside it are no such
   */
  static async open(path: string, printing: PrintOptions): Promise<ResultFile> {
    if (path.trim() === "") throw new PenjingError("--out", "it is empty; give a file's name.");
    await refuseTaken(path);
    const work = await openWorkFolder(`${path}.partial`);
    try {
      const bytes = await work.read(ANSWERS);
      const lines = new TextDecoder().decode(bytes).split("\n");
      // A last line without its end was being written when the run ended.
      const torn = lines.pop();
      const where = join(work.path, ON_DISK);
      const kept = new Map(lines.map((line, i) => readAnswer(line, `${where}, line ${i + 1}`)));
      if (torn) {
        const whole = lines.map((line) => `${line}\n`).join("");
        await work.write(ANSWERS, new TextEncoder().encode(whole));
      }
      if (kept.size > 0 && !printing.quiet && !printing.jsonLines) {
        printNote(`note: ${work.path}: ${kept.size} answers of an earlier run are taken from it`);
      }
      return new ResultFile(path, work, kept);
    } catch (error) {
      await work.close();
      throw error;
    }
  }

  get(key: string): Likelihood | undefined {
    if (!this.isOurs) this.refuseOthers(key);
    return this.kept.get(key);
  }

  /** @throws PenjingError when no answer is of the model that is asked */
  private refuseOthers(key: string): void {
    const subject = `${key.split("/")[0]}/`;
    const isOurs = [...this.kept.keys()].some((one) => one.startsWith(subject));
    if (this.kept.size > 0 && !isOurs) {
      throw new PenjingError(
        this.work.path,
        "it has answers of another model, or of another arithmetic; remove it, or give another --out.",
      );
    }
    this.isOurs = true;
  }

  async set(key: string, likelihood: Likelihood): Promise<void> {
    const { sum, isGreedy } = likelihood;
    const file = join(this.work.path, ON_DISK);
    await appendFile(file, `${JSON.stringify([key, sum, isGreedy])}\n`).catch((error) => {
      throw fileError(file, "writing", error);
    });
    this.kept.set(key, likelihood);
  }

  /** Whether the same command has anything to go on with. */
  get hasAnswers(): boolean {
    return this.isOurs && this.kept.size > 0;
  }

  /** Writes the results and forgets the answers. */
  async finish(results: unknown): Promise<void> {
    const next = `${this.path}.next`;
    try {
      await refuseTaken(this.path);
      await writeFile(next, `${JSON.stringify(results, null, 2)}\n`);
      await rename(next, this.path);
    } catch (error) {
      await rm(next, { force: true });
      throw fileError(this.path, "writing", error);
    }
    await this.work.clear();
  }

  /** Lets others work on it; what is kept stays. After `finish` it does nothing. */
  leave(): Promise<void> {
    return this.work.close();
  }
}

async function refuseTaken(path: string): Promise<void> {
  if (!(await stat(path).catch(() => undefined))) return;
  throw new PenjingError(path, "it is there already; move it away, or give another --out.");
}

function readAnswer(line: string, where: string): [string, Likelihood] {
  try {
    const [key, sum, isGreedy] = JSON.parse(line) as unknown[];
    if (typeof key === "string" && Number.isFinite(sum) && typeof isGreedy === "boolean") {
      return [key, { sum: sum as number, isGreedy }];
    }
  } catch {
    // Said below.
  }
  throw new PenjingError(where, "it is no answer of a task; remove the folder and begin anew.");
}
