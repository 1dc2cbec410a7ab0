import type { Command } from "commander";
import { type MethodDescription, recipeDescription } from "../compress/recipe.js";
import { defaultText, ruleOf } from "../options.js";
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
      .description("list the methods of pruning and quantizing, what they read, and their options"),
  )
    .option("--json", "print one JSON document instead of text")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(run);
}

async function run(flags: PrintOptions & PluginFlags): Promise<void> {
  const { methods, quantizers } = recipeDescription({ plugins: await loadPlugins(flags) });
  const all = [...methods, ...quantizers];
  if (flags.json) printJson(all);
  else print(all.map(lines).join("\n\n"));
}

function lines(method: MethodDescription): string {
  const { name, summary, source, reads, factorises, options } = method;
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
