import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import { type OpenModel, openModel } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { embeddedCase } from "./cases.js";
import { type Figure, median } from "./figures.js";
import type { BenchOptions } from "./measure.js";
import { writeSynthetic } from "./synthetic.js";

/** How much work a command has. */
interface Work {
  readonly layers: number;
  readonly width: number;
  /** Of what runs through the model, in the command's unit. */
  readonly amount: number;
}

interface Command {
  readonly unit: string;
  /** The smallest work; each of its three numbers is doubled, and doubled again. */
  readonly start: Work;
  /** Does it, and returns the seconds that it took. */
  run(work: Work, model: Checkpoint, backend: Backend): Promise<number>;
}

const WINDOW = 256;

async function secondsOf(step: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await step();
  return (performance.now() - started) / 1000;
}

/** Opening the model is no part of the seconds. */
async function withModel(
  checkpoint: Checkpoint,
  backend: Backend,
  step: (model: OpenModel) => Promise<unknown>,
): Promise<number> {
  const model = await openModel(checkpoint, { backend });
  const seconds = await secondsOf(() => step(model));
  await model.close();
  return seconds;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  compress: {
    unit: "windows",
    start: { layers: 2, width: 128, amount: 8 },
    run({ amount: samples }, model, backend) {
      const { calibration } = embeddedCase();
      const recipe = { method: "sparsegpt", sparsity: "2:4", length: WINDOW, samples };
      const out = memoryOutputFolder();
      return secondsOf(() => compress({ model, out, calibration, backend, recipe }).result());
    },
  },
  eval: {
    unit: "characters",
    start: { layers: 2, width: 128, amount: 10_000 },
    run({ amount }, checkpoint, backend) {
      const text = embeddedCase().evaluation.slice(0, amount);
      return withModel(checkpoint, backend, (model) =>
        evaluatePerplexity({ model, text, window: WINDOW }).result(),
      );
    },
  },
  generate: {
    unit: "tokens",
    start: { layers: 2, width: 256, amount: 64 },
    run({ amount: maxNewTokens }, checkpoint, backend) {
      const options = { prompt: "Once", maxNewTokens, ignoreEos: true };
      return withModel(checkpoint, backend, (model) => generate({ ...options, model }).result());
    },
  },
};

/** Synthetic models in memory, each made once. */
function modelMaker(): (work: Work) => Promise<Checkpoint> {
  const made = new Map<string, Readonly<Record<string, Uint8Array>>>();
  return async ({ layers, width }) => {
    const key = `${layers} ${width}`;
    let files = made.get(key);
    if (!files) {
      const output = memoryOutputFolder();
      await writeSynthetic(output, { layers, width });
      files = output.files;
      made.set(key, files);
    }
    return openCheckpoint(memoryFolder(files));
  };
}

const DIMENSIONS = ["layers", "width", "amount"] as const;

/** The starting work first, then each dimension doubled once and twice, the others as they were. */
function worksOf(start: Work): Work[] {
  const grown = DIMENSIONS.flatMap((key) =>
    [2, 4].map((factor) => ({ ...start, [key]: factor * start[key] })),
  );
  return [start, ...grown];
}

/**
 * How the time of each command grows with the layers and the width of a model and with what runs
 * through it, on one thread. A ratio of 2 is a time in proportion; weights grow fourfold when the
 * width doubles.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  const backend = await openWasm({ threads: 1 });
  const modelOf = modelMaker();
  for (const [name, { unit, start, run: measure }] of Object.entries(COMMANDS)) {
    const works = worksOf(start);
    const times = works.map((): number[] => []);
    // The first round runs code that is not optimised yet.
    for (let round = -1; round < (quick ? 1 : 3); round++) {
      for (const [i, work] of works.entries()) {
        const seconds = await measure(work, await modelOf(work), backend);
        if (round >= 0) times[i].push(seconds);
      }
    }
    const add = (title: string, at: number, half?: number) => {
      const value = median(times[at]);
      const relation = half !== undefined && {
        ratio: value / median(times[half]),
        against: "half as much",
      };
      figures.push({ name: title, value, unit: "s", ...relation });
    };
    const { layers, width, amount } = start;
    add(`${name}, ${layers} layers of ${width}, ${amount} ${unit}`, 0);
    for (const [i, key] of DIMENSIONS.entries()) {
      const [twice, fourTimes] = [1 + 2 * i, 2 + 2 * i];
      const what = key === "amount" ? unit : key;
      add(`${name}, ${works[twice][key]} ${what}`, twice, 0);
      add(`${name}, ${works[fourTimes][key]} ${what}`, fourTimes, twice);
    }
  }
  backend.dispose();
  return figures;
}
