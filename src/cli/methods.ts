import type { Command } from "commander";
import { openCompressRegistry } from "../compress/registry.js";
import type { AnyMethod } from "../method.js";
import { defaultText, type OptionSpec, type OptionValue, ruleOf } from "../options.js";
import { type PrintOptions, print, printJson } from "./console.js";
import { flagOf } from "./flags.js";
import { type PluginFlags, withPlugins } from "./options.js";
import { loadPlugins } from "./plugins.js";

const EXAMPLES = `
Examples:
  $ penjing methods
  $ penjing methods --json
`;

export function addMethods(program: Command): void {
  withPlugins(
    program
      .command("methods")
      .description("list the pruning methods, what they read, and their options"),
  )
    .option("--json", "print one JSON document instead of text")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(run);
}

/** A method as it is listed. */
interface Listed {
  readonly name: string;
  readonly summary: string;
  readonly source: string;
  /** Statistics of the layers' inputs; without any it needs no calibration text. */
  readonly reads: readonly string[];
  /** Whether a weight becomes a product, which penjing alone reads until it is exported. */
  readonly factorises: boolean;
  readonly options: Readonly<Record<string, OptionSpec>>;
}

function describe({ name, summary, source, needs, form, options }: AnyMethod): Listed {
  const specs = options as Readonly<Record<string, OptionSpec>>;
  const usual: Record<string, OptionValue | undefined> = {};
  for (const [option, spec] of Object.entries(specs)) usual[option] = spec.default;
  return { name, summary, source, reads: needs(usual), factorises: form !== undefined, options };
}

async function run(flags: PrintOptions & PluginFlags): Promise<void> {
  const plugins = await loadPlugins(flags);
  const listed = Object.values(openCompressRegistry(plugins).methods).map(describe);
  if (flags.json) printJson(listed);
  else print(listed.map(lines).join("\n\n"));
}

function lines({ name, summary, source, reads, factorises, options }: Listed): string {
  const facts = [
    `reads    ${reads.join(", ") || "nothing: it needs no calibration text"}`,
    ...(factorises ? ["writes   factors beside the weights, which penjing alone reads"] : []),
    `source   ${source}`,
    ...Object.entries(options).map(([option, spec]) => {
      const usual = defaultText(spec);
      const tail = usual === undefined ? "" : ` (default: ${usual})`;
      return `${flagOf(option)}: ${spec.description}; ${ruleOf(spec)}${tail}`;
    }),
  ];
  return [`${name}: ${summary}`, ...facts.map((fact) => `  ${fact}`)].join("\n");
}
