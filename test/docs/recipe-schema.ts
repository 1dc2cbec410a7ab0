/** The JSON schema of a recipe, made from the descriptions of its options. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SETTINGS } from "../../src/compress/settings.js";
import type { TransformKind } from "../../src/compress/transform.js";
import { transforms } from "../../src/compress/transforms/index.js";
import { GGUF } from "../../src/export/gguf-options.js";
import { layouts } from "../../src/layouts/index.js";
import { allSpecs, type OptionSpec, type OptionSpecs } from "../../src/options.js";
import { LARGEST_M } from "../../src/sparsity.js";
import { repositoryRoot } from "../shared.js";

export const SCHEMA_FILE = join(repositoryRoot, "recipe.schema.json");

type Schema = Readonly<Record<string, unknown>>;

const TEXTS: Schema = { type: "array", items: { type: "string", minLength: 1 } };
const PATTERNS = Array.from({ length: LARGEST_M }, (_, i) => {
  const kept = Array.from({ length: i + 1 }, (_, j) => j + 1);
  return `(${kept.join("|")}):${i + 1}`;
});
const SHARES = ["0*\\d{1,2}(\\.\\d+)?%", "\\.\\d+%?", "0+(\\.\\d+)?"];
const SPARSITY: Schema = {
  oneOf: [
    { type: "string", pattern: `^\\s*(${[...PATTERNS, ...SHARES].join("|")})\\s*$` },
    { type: "number", minimum: 0, exclusiveMaximum: 1 },
  ],
};

function valueSchema(spec: OptionSpec): Schema {
  if (spec.kind === "flag") return { type: "boolean" };
  if (spec.kind === "sparsity") return SPARSITY;
  if (spec.kind === "choice") return { enum: spec.values };
  if (spec.kind === "text") {
    return { type: "string", ...(spec.pattern && { pattern: `^(${spec.pattern})$` }) };
  }
  const { integer, min, max, above, word } = spec;
  const number = {
    type: integer ? "integer" : "number",
    ...(min !== undefined && { minimum: min }),
    ...(max !== undefined && { maximum: max }),
    ...(above !== undefined && { exclusiveMinimum: above }),
  };
  return word === undefined ? number : { anyOf: [number, { const: word }] };
}

function optionSchema(spec: OptionSpec): Schema {
  const { description, unit, otherwise } = spec;
  const text = `${description}${unit ? `, in ${unit}` : ""}${otherwise ? ` (default: ${otherwise})` : ""}`;
  return {
    description: text,
    ...(spec.default !== undefined && { default: spec.default }),
    ...valueSchema(spec),
  };
}

function properties(specs: Iterable<[string, OptionSpec]>): Schema {
  return Object.fromEntries([...specs].map(([name, spec]) => [name, optionSchema(spec)]));
}

/** A mapping of options, where a choice brings some of its own. */
function optionsSchema(specs: OptionSpecs): Schema {
  const own = Object.entries(specs);
  for (const [name, spec] of own) {
    if (spec.kind !== "choice" || !spec.brings) continue;
    const branches = spec.values.map((value) => ({
      properties: {
        ...properties(own),
        [name]: { const: value },
        ...properties(Object.entries(spec.brings![value])),
      },
      additionalProperties: false,
      ...(value !== spec.default && { required: [name] }),
    }));
    return { type: ["object", "null"], anyOf: [{ type: "null" }, ...branches] };
  }
  return { type: ["object", "null"], properties: properties(own), additionalProperties: false };
}

function reachSchema({ options, whole = [] }: TransformKind): Schema {
  const changeable = [...allSpecs(options)].filter(([name]) => !whole.includes(name));
  const changes = changeable.map(([name, spec]) => {
    const others = Object.values(options).flatMap((one) =>
      one.kind === "choice" ? Object.values(one.brings ?? {}) : [],
    );
    // Methods have options of one name and different ranges.
    const ranges = [...new Set([spec, ...others.flatMap((one) => one[name] ?? [])])];
    return [name, { anyOf: [...ranges.map(valueSchema), { type: "null" }] }];
  });
  return {
    match: TEXTS,
    ignore: TEXTS,
    overrides: {
      type: "array",
      items: {
        type: "object",
        properties: { match: { type: "string", minLength: 1 }, ...Object.fromEntries(changes) },
        required: ["match"],
        additionalProperties: false,
      },
    },
  };
}

function stepSchema(kind: TransformKind): Schema {
  return {
    type: "object",
    description: kind.summary,
    properties: {
      [kind.name]: optionsSchema(kind.options),
      ...(kind.scope === "linear" && reachSchema(kind)),
    },
    required: [kind.name],
    additionalProperties: false,
  };
}

/** What holds for a recipe of either form. */
export function recipeSchema(): Schema {
  const kinds: readonly TransformKind[] = Object.values(transforms);
  const plain = properties(Object.entries(SETTINGS));
  const layoutNames = { pattern: `^((${Object.keys(layouts).join("|")})(\\+pad)?|${GGUF})$` };
  const settings = { ...plain, layout: { ...(plain.layout as Schema), ...layoutNames } };
  const { prune, quantize, rotate, scale } = transforms;
  const { method, sparsity } = prune.options;
  const both = [prune, quantize].map(({ options }) => options.method);
  const tables = Object.entries<OptionSpec>(quantize.options).filter(([name]) =>
    quantize.whole.includes(name),
  );
  const own = [...Object.keys(prune.options), ...quantize.whole];
  const brought = [prune, quantize].flatMap(({ options }) => [...allSpecs(options).keys()]);
  const given = {
    type: "object",
    propertyNames: { enum: [...new Set(brought)].filter((name) => !own.includes(name)) },
    additionalProperties: { type: ["number", "boolean", "string"] },
  };
  const names = both.flatMap(({ values }) => values);
  const brings: Record<string, OptionSpecs> = Object.assign({}, ...both.map((one) => one.brings));
  const ofMethod = Object.entries(brings).map(([name, specs]) => ({
    if: {
      properties: { method: { const: name } },
      ...(name !== method.default && { required: ["method"] }),
    },
    // biome-ignore lint/suspicious/noThenProperty: a key of JSON schema
    then: {
      properties: {
        options: {
          type: "object",
          properties: properties(Object.entries(specs)),
          additionalProperties: false,
        },
      },
    },
  }));
  const flatOverride = {
    type: "object",
    properties: {
      match: { type: "string", minLength: 1 },
      method: { enum: names },
      sparsity: SPARSITY,
      options: given,
    },
    required: ["match"],
    additionalProperties: false,
  };
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A recipe of penjing compress",
    type: "object",
    if: { properties: { version: { const: 2 } }, required: ["version"] },
    // biome-ignore lint/suspicious/noThenProperty: a key of JSON schema
    then: {
      properties: {
        version: { const: 2 },
        ...settings,
        steps: { type: "array", minItems: 1, items: { anyOf: kinds.map(stepSchema) } },
      },
      required: ["version", "steps"],
      additionalProperties: false,
    },
    else: {
      properties: {
        version: { const: 1 },
        ...settings,
        method: { ...optionSchema(method), enum: names },
        sparsity: optionSchema(sparsity),
        ...properties(tables),
        options: given,
        ignore: TEXTS,
        overrides: { type: "array", items: flatOverride },
        rotate: { ...optionsSchema(rotate.options), type: "object" },
        scale: { ...optionsSchema(scale.options), type: "object" },
      },
      allOf: ofMethod,
      additionalProperties: false,
    },
  };
}

/** The file's text. */
export function schemaText(): string {
  return `${JSON.stringify(recipeSchema(), null, 2)}\n`;
}

/** Whether the file says what the descriptions say. */
export function isCurrent(): boolean {
  return readFileSync(SCHEMA_FILE, "utf8") === schemaText();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(SCHEMA_FILE, schemaText());
