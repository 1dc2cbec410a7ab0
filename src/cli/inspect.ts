import type { Command } from "commander";
import { inspect } from "../inspect.js";
import {
  openProgress,
  type PrintOptions,
  print,
  printJson,
  printLine,
  printNote,
  size,
  table,
  told,
} from "./console.js";
import { type HubFlags, withRevisionFlags } from "./hub.js";
import { type PluginFlags, withJson, withPlugins } from "./options.js";
import { peerText } from "./peer.js";
import { loadPlugins } from "./plugins.js";

const EXAMPLES = `
Examples:
  $ penjing inspect llama-24/
  $ penjing inspect model-00001-of-00002.safetensors --json
  $ penjing inspect model-Q4_K_M.gguf
  $ penjing inspect HuggingFaceTB/SmolLM2-135M-Instruct
`;

export function addInspect(program: Command, signal: AbortSignal): void {
  const command = withPlugins(
    program
      .command("inspect")
      .description("list a checkpoint's tensors: dtype, shape, sparsity, N:M, layout, bytes")
      .argument(
        "<model>",
        "model folder, .safetensors or .gguf file, or org/name on the Hugging Face hub",
      ),
  );
  withJson(withRevisionFlags(command))
    .option(
      "--zeros",
      "count zeros on the hub too, for which the whole model is read (default: headers alone)",
    )
    .option("--quiet", "no progress")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((path: string, flags: InspectFlags) => run(path, flags, signal));
}

type InspectFlags = PrintOptions & PluginFlags & HubFlags & { readonly zeros?: boolean };

async function run(path: string, flags: InspectFlags, signal: AbortSignal): Promise<void> {
  const plugins = await loadPlugins(flags);
  const progress = openProgress("inspect", { quiet: flags.quiet || !process.stderr.isTTY });
  const { revision, offline, zeros } = flags;
  const work = inspect(path, { signal, plugins, zeros, hub: { revision, offline } });
  try {
    for await (const { name, fraction } of told("inspect", work, flags))
      progress.update(fraction, name);
  } finally {
    progress.stop();
  }
  const result = await work.result();
  if (flags.json) {
    printJson(result, flags);
    return;
  }
  const isCounted = result.tensors.some(({ sparsity }) => sparsity !== undefined);
  if (!isCounted && !flags.quiet && result.path.startsWith("hf://")) {
    printNote("zeros are not counted where the weights stay on the hub; --zeros reads them");
  }
  const rows = result.tensors.map((tensor) => [
    tensor.name,
    tensor.storedAs ?? tensor.dtype,
    `[${tensor.shape.join(", ")}]`,
    tensor.sparsity === undefined ? "-" : `${(tensor.sparsity * 100).toFixed(1)}%`,
    tensor.pattern ?? "-",
    tensor.layout,
    size(tensor.bytes),
  ]);
  print(table([["tensor", "dtype", "shape", "zeros", "N:M", "layout", "bytes"], ...rows]));
  const count = result.tensors.length;
  print(`\n${count} tensors, ${result.parameters} parameters, ${size(result.bytes)}`);
  for (const [name, form] of Object.entries(result.forms)) {
    const peer = result.peers[name];
    const beside = peer ? `; ${peerText(peer)}` : "";
    printLine(`${name} is ${form}${beside}`);
  }
  for (const [key, value] of Object.entries(result.metadata))
    printLine(`metadata ${key}: ${value}`);
}
