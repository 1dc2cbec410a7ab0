// Compresses blocks of a real model's shape, so that it can be killed, and prints its events as JSON Lines.
// Usage: node compress-large.js SHAPE LAYERS WINDOWS LENGTH OUT plain|spill
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { compress } from "../../../src/compress.js";
import { embeddedTokenizer, patternedModel, REAL_SHAPES } from "../patterned.js";
import { peakResident } from "../resident.js";

/** One line. */
export interface LargeEvent {
  /** The block at hand; absent at the end. */
  readonly block?: number;
  readonly phase?: string;
  /** Resident bytes of the process at their highest so far. */
  readonly peakResidentBytes: number;
  /** Bytes of tensors at their highest; at the end. */
  readonly peakTensorBytes?: number;
}

const [name, layers, windows, length, out, way] = process.argv.slice(2);
const shape =
  name in REAL_SHAPES ? REAL_SHAPES[name as keyof typeof REAL_SHAPES] : JSON.parse(name);
const config = {
  ...shape,
  num_hidden_layers: Number(layers),
  vocab_size: 1024,
  max_position_embeddings: 2048,
  tie_word_embeddings: true,
};
const model = await openCheckpoint(patternedModel(config, embeddedTokenizer()));
const calibration = "Once upon a time there was a tree in a pot, and it grew. ".repeat(
  Math.ceil((Number(windows) * Number(length)) / 10),
);
const recipe = { samples: Number(windows), length: Number(length) };
const run = compress({
  ...{ model, out, calibration, recipe, backend: "wasm", spill: way === "spill" },
});
const tell = (event: Omit<LargeEvent, "peakResidentBytes">) =>
  console.log(JSON.stringify({ ...event, peakResidentBytes: peakResident() }));
for await (const event of run) {
  if (event.type === "progress") tell({ block: event.block, phase: event.phase });
}
const { peakTensorBytes } = await run.result();
tell({ peakTensorBytes });
