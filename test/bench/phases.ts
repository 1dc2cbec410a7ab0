import { readFileSync } from "node:fs";
import type { Backend, Operations } from "../../src/backend.js";
import type { Simd } from "../../src/backends/wasm/module.js";
import { openWasm } from "../../src/backends/wasm.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { colsOf, rowsOf, type Tensor } from "../../src/tensor.js";
import { sharedPath } from "../shared.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { availableModes } from "./contenders.js";
import { median } from "./figures.js";
import type { BenchOptions, Figure } from "./measure.js";

/** Rows from which on a matrix is called the head. */
const HEAD_ROWS = 16_384;

/** Of what does nearly all of them. */
function multiplyAdds(operation: string, args: readonly unknown[]): number {
  const [first, second, out] = args as Tensor[];
  if (operation === "multiply") {
    // Of a packed 2:4 matrix half are kept.
    const isPacked = "held" in second && String(second.held).startsWith("2:4");
    return (rowsOf(first) * colsOf(first) * colsOf(out)) / (isPacked ? 2 : 1);
  }
  // A query sees no later keys; of a Hessian one half is computed.
  if (operation === "attention") {
    return rowsOf(first) * (2 * rowsOf(second) - rowsOf(first)) * colsOf(first);
  }
  if (operation === "accumulateHessian") return (rowsOf(first) * colsOf(first) ** 2) / 2;
  return 0;
}

/** Seconds by operation. */
class Clock {
  private readonly seconds = new Map<string, number>();
  /** Multiply-adds of products, attention and Hessians. */
  multiplied = 0;

  begin(): void {
    this.seconds.clear();
    this.multiplied = 0;
  }

  add(name: string, seconds: number): void {
    this.seconds.set(name, (this.seconds.get(name) ?? 0) + seconds);
  }

  /** The same backend, whose calls are timed. */
  timing(backend: Backend): Backend {
    const timed =
      (name: (args: readonly unknown[]) => string, run: (...args: never[]) => unknown) =>
      (...args: never[]) => {
        const started = performance.now();
        const done = () => this.add(name(args), (performance.now() - started) / 1000);
        const result = run(...args);
        if (result instanceof Promise) return result.finally(done);
        done();
        return result;
      };
    const nameOf = (operation: string) => (args: readonly unknown[]) => {
      this.multiplied += multiplyAdds(operation, args);
      const isHead = operation === "multiply" && colsOf(args[2] as Tensor) >= HEAD_ROWS;
      return isHead ? "multiply, head" : operation;
    };
    const ops = Object.fromEntries(
      Object.entries(backend.ops).map(([operation, run]) => [
        operation,
        timed(nameOf(operation), run as (...args: never[]) => unknown),
      ]),
    ) as unknown as Operations;
    const copies = Object.fromEntries(
      (["upload", "write", "read", "copy", "zeros"] as const).map((name) => [
        name,
        timed(() => name, (backend[name] as (...args: never[]) => unknown).bind(backend)),
      ]),
    );
    return Object.assign(Object.create(backend) as Backend, { ops, ...copies });
  }

  /** Each operation's share of the time, from the longest on, and what no operation took. */
  figures(what: string, by: string, total: number): Figure[] {
    const times = [...this.seconds].sort(([, a], [, b]) => b - a);
    const rest = total - times.reduce((sum, [, seconds]) => sum + seconds, 0);
    return [
      { name: what, by, value: total, unit: "s" },
      ...[...times, ["outside of operations", rest] as const]
        .filter(([, seconds]) => seconds >= total / 1000)
        .map(([name, value]): Figure => {
          return { name: `  ${name}`, by, value, unit: "s", ratio: value / total, against: "all" };
        }),
    ];
  }
}

/** Windows of the evaluation, of 1,024 tokens; the first warms up. */
const WINDOWS = 4;
/** Edge of the product that rates are held against. */
const EDGE = 1024;

/** Seconds of work between two looks at what a product takes. */
const BETWEEN_PRODUCTS = 1;

/** Seconds that products of that size take, each time it is asked. */
function openProducts(backend: Backend) {
  const random = () => {
    const values = Float32Array.from({ length: EDGE ** 2 }, () => Math.random() - 0.5);
    return backend.upload(values, [EDGE, EDGE]);
  };
  const [a, b, out] = [random(), random(), backend.zeros([EDGE, EDGE])];
  const run = () => {
    const started = performance.now();
    backend.ops.multiply(a, b, out);
    return (performance.now() - started) / 1000;
  };
  run();
  return () => Array.from({ length: 4 }, run);
}

/** Runs work, timed from an event on, and products at some of the events in between. */
async function timed<Event>(
  what: string,
  simd: Simd,
  work: (backend: Backend, signal: AbortSignal) => AsyncIterable<Event>,
  begins: (event: Event) => boolean,
  ends: (event: Event) => boolean,
): Promise<Figure[]> {
  const backend = await openWasm({ simd });
  const clock = new Clock();
  const stop = new AbortController();
  const products = openProducts(backend);
  const seconds: number[] = [];
  let [started, total] = [0, 0];
  try {
    for await (const event of work(clock.timing(backend), stop.signal)) {
      const isBegun = started > 0;
      if (!isBegun && !begins(event)) continue;
      const now = performance.now();
      const isOver = isBegun && ends(event);
      if (isBegun && !isOver && now - started < 1000 * BETWEEN_PRODUCTS) continue;
      if (isBegun) total += (now - started) / 1000;
      else clock.begin();
      seconds.push(...products());
      started = performance.now();
      if (!isOver) continue;
      stop.abort();
      break;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  const figures = clock.figures(what, simd, total);
  const value = (2 * clock.multiplied) / total;
  backend.dispose();
  return [
    ...figures,
    {
      ...{ name: `${what}: multiply-adds`, by: simd, value: value / 1e9, unit: "GFLOP/s" },
      ratio: value / ((2 * EDGE ** 3) / median(seconds)),
      against: `products of ${EDGE} in between`,
    },
  ];
}

/**
 * Where the time goes: evaluating SmolLM2-135M, and SparseGPT at 2:4 on its first block, by operation.
 * Needs the model.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick()) return [];
  const model = yardstickPath("smollm2");
  const text = readFileSync(sharedPath("data", "wikitext2", "wiki.test.raw"), "utf8");
  const figures: Figure[] = [];
  for (const simd of availableModes()) {
    figures.push(
      ...(await timed(
        "evaluation",
        simd,
        (backend, signal) =>
          evaluatePerplexity({ model, window: 1024, backend, text: text.slice(0, 20_000), signal }),
        (event) => event.type === "progress" && event.done === 1,
        (event) => event.type === "progress" && event.done === (quick ? 2 : WINDOWS),
      )),
      ...(await timed(
        "SparseGPT of a block",
        simd,
        (backend, signal) => {
          const recipe = { method: "sparsegpt", samples: quick ? 4 : 64, length: 512 } as const;
          const calibration = text.slice(0, 200_000);
          return compress({
            ...{ model, out: memoryOutputFolder(), recipe, calibration, backend, signal },
          });
        },
        (event) => event.type === "layer" && event.report.name.endsWith("layers.0.mlp.down_proj"),
        (event) => event.type === "layer" && event.report.name.endsWith("layers.1.mlp.down_proj"),
      )),
    );
  }
  return figures;
}
