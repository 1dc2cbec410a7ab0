/** How much memory the commands may take. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { PenjingError } from "../errors.js";
import { machineMemory } from "../platform/memory.js";

/** The flag that says how much. */
export interface MemoryFlags {
  readonly maxMemory?: GivenMemory;
}

/** As it was given: bytes, or a share of what there is. */
type GivenMemory = { readonly bytes: number } | { readonly share: number };

const UNITS = ["", "K", "M", "G", "T"];
const EXAMPLES =
  "Give a size such as 4GiB, 800MB or 75%; units are kB, MB, GB, TB and KiB, MiB, GiB, TiB.";

/**
 * Parses a size of memory, as an argument parser of commander: bytes in powers of ten, as "800MB", or of two,
 * as "4GiB"; a plain number of them; or a share such as "75%" of what the machine, or its container, has.
 */
export function parseMemory(text: string): GivenMemory {
  const [, digits, unit = ""] =
    /^(\d+(?:\.\d+)?(?:e\d+)?) ?(%|[kmgt]?i?b)?$/i.exec(text.trim()) ?? [];
  const value = Number(digits);
  if (unit === "%") {
    if (value > 0 && value <= 100) return { share: value / 100 };
    throw new InvalidArgumentError("Give a share above 0% and of at most 100%.");
  }
  const power = UNITS.indexOf(unit.toUpperCase().replace(/I?B$/, ""));
  const bytes = Math.floor(value * (/i/i.test(unit) ? 1024 : 1000) ** power);
  // "IB" has no power.
  if (bytes >= 1 && Number.isSafeInteger(bytes) && !/^ib$/i.test(unit)) return { bytes };
  throw new InvalidArgumentError(EXAMPLES);
}

/** Adds that flag. */
export function withMemoryFlag(command: Command): Command {
  return command.addOption(
    new Option(
      "--max-memory <size>",
      "memory that the work may take, such as 4GiB, 800MB or 75% of what there is: what takes more is done in parts where that is possible, and else refused before it begins (default: what the machine or its container has)",
    ).argParser(parseMemory),
  );
}

/**
 * What the flag stands for, in bytes; undefined where it is not given.
 *
 * @throws PenjingError for a share where nobody tells how much there is
 */
export async function maxMemoryOf({ maxMemory }: MemoryFlags): Promise<number | undefined> {
  if (!maxMemory || "bytes" in maxMemory) return maxMemory?.bytes;
  const { whole } = await machineMemory();
  if (whole !== undefined) return Math.floor(maxMemory.share * whole);
  throw new PenjingError(
    "--max-memory",
    "nobody tells how much memory there is here; give a size such as 4GiB.",
  );
}
