import { PenjingError, refuseUnknownKeys } from "./errors.js";

/** What a value that a caller gives must be. */
export interface Argument {
  /** Completes "give " and "must be ". */
  readonly what: string;
  readonly isRequired?: boolean | undefined;
  readonly fits: (value: unknown) => boolean;
}

/** One for each option of a call: an option without one does not compile. */
export type Arguments<Options> = { readonly [Name in keyof Required<Options>]: Argument };

/** An object that has these fields, or, where it says so, a path. */
function having(what: string, fields: readonly string[], takesPath = false): Argument {
  const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
  return {
    what,
    fits: (value) =>
      (takesPath && typeof value === "string") ||
      (isObject(value) && fields.every((field) => field in value)),
  };
}

export const TEXT: Argument = { what: "text", fits: (value) => typeof value === "string" };
export const TEXTS = having("a text, or a dataset of openDataset", ["name", "documents"], true);
export const NUMBER: Argument = { what: "a number", fits: (value) => typeof value === "number" };
export const BYTES: Argument = {
  what: "a number of bytes above 0",
  fits: (value) => typeof value === "number" && value > 0,
};
export const FLAG: Argument = {
  what: "true or false",
  fits: (value) => typeof value === "boolean",
};
export const MAPPING = having("an object", []);
export const FLOATS: Argument = {
  what: "a Float32Array; convert an array with Float32Array.from",
  fits: (value) => value instanceof Float32Array,
};
export const ARRAY: Argument = { what: "a typed array", fits: ArrayBuffer.isView };
export const SIGNAL = having("an AbortSignal", ["aborted", "throwIfAborted"]);
export const CHECKPOINT = having(
  "a model folder's path, a name on the Hugging Face hub, the path of a .safetensors or .gguf file, or an open checkpoint",
  ["folder", "tensors"],
  true,
);
export const OPEN_FOLDER = having("an open folder", ["list", "open"]);
export const FOLDER = having("a folder's path, or an open folder", ["list", "open"], true);
export const FILE = having("a file's path, or an open file", ["size", "read"], true);
export const OUTPUT = having("a path, or an output folder", ["commit"], true);
export const WORK = having("a path, or a work folder", ["list", "clear"], true);
export const BACKEND = having(
  'a backend\'s name such as "wasm", or an open backend',
  ["ops"],
  true,
);
/** What is checked elsewhere. */
export const ANY: Argument = { what: "a value", fits: () => true };

/** The same argument, without which the call cannot work. */
export function required(argument: Argument, what = argument.what): Argument {
  return { ...argument, what, isRequired: true };
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  return `an object (${value.constructor?.name ?? "without a prototype"})`;
}

/**
 * Checks what a caller gave: unknown names, missing values, values of another type.
 *
 * @param where the call, for messages
 * @throws PenjingError naming the first fault and what to give instead
 */
export function checkArguments<Options extends object>(
  where: string,
  given: Options | undefined,
  all: Arguments<Options>,
): void {
  if (given !== undefined && !MAPPING.fits(given)) {
    throw new PenjingError(where, `its options are ${shown(given)}, must be one object of them.`);
  }
  const values: Readonly<Record<string, unknown>> = { ...given };
  refuseUnknownKeys(where, values, Object.keys(all));
  for (const [name, { what, isRequired, fits }] of Object.entries<Argument>(all)) {
    const value = values[name];
    if (value === undefined) {
      if (isRequired) throw new PenjingError(where, `${name} is missing; give ${what}.`);
    } else if (!fits(value)) {
      throw new PenjingError(where, `${name} is ${shown(value)}, must be ${what}.`);
    }
  }
}
