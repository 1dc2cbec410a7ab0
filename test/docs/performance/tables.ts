import { majorOf } from "../../bench/figures.js";
import type { Results } from "./results.js";

/** The runtime of all figures of which the page shows one runtime only. */
export const MAIN = "Node 24";

const SIZES = [512, 1024, 2048];
const MODES = ["baseline", "relaxed"] as const;

type Cell = string | number;

/** A Markdown table. */
function table(head: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) throw new Error(`The table of ${head.join(", ")} has no rows.`);
  const line = (cells: readonly Cell[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const ratio = (value: number) => value.toFixed(2);

/** The modes in which a benchmark ran on a runtime. */
function modesOf(results: Results, on: string, bench: string) {
  const figures = results.list(on, bench);
  return MODES.filter((mode) => figures.some(({ by }) => by === mode));
}

function dense(results: Results): string {
  const rows = results.runtimes.flatMap((runtime) =>
    modesOf(results, runtime, "gemm").map((by) => {
      const of = (name: string) => ({ on: runtime, bench: "gemm", name, by });
      return [
        runtime,
        by,
        results.figure(of("peak beside 1024")).value.toFixed(1),
        ...SIZES.map((n) => ratio(results.ratio(of(`gemm ${n}`)))),
        ...["accumulateHessian", "cholesky", "triangularInverse"].map((name) =>
          ratio(results.ratio(of(`${name} 2048`))),
        ),
      ];
    }),
  );
  const sizes = SIZES.map((n) => `GEMM ${n} / peak`);
  const others = ["SYRK", "Cholesky", "inverse"].map((name) => `${name} / GEMM, 2048`);
  return table(["runtime", "kernels", "peak, GFLOP/s", ...sizes, ...others], rows);
}

function linear(results: Results): string {
  const rows = [1, 4, 16, 64].map((tokens) => [
    tokens,
    ...MODES.flatMap((by) =>
      [1024, 4096].map((n) => {
        const name = `linear ${tokens} x ${n} x ${n}`;
        return ratio(results.ratio({ on: MAIN, bench: "gemm", name, by }));
      }),
    ),
  ]);
  const heads = MODES.flatMap((by) => [1024, 4096].map((n) => `${n}x${n}, ${by}`));
  return table(["tokens", ...heads], rows);
}

/** The peers' names with their versions. */
function peersOf(results: Results, on: string): string[] {
  const figures = results.list(on, "peers").filter(({ name }) => name === "gemm 1024");
  return figures.flatMap(({ by }) => (by && !MODES.some((mode) => mode === by) ? [by] : []));
}

function peers(results: Results): string {
  const names = peersOf(results, MAIN);
  const products = [...SIZES.map((n) => `gemm ${n}`), "gemv 1 x 4096 x 4096"];
  const rows = results.runtimes.flatMap((runtime) =>
    modesOf(results, runtime, "peers").map((by) => [
      majorOf(runtime),
      by,
      ...names.map((peer) =>
        products
          .map((name) => ({ on: runtime, bench: "peers", name: `${name} beside ${peer}`, by }))
          .map((query) => ratio(results.ratio(query)))
          .join(" / "),
      ),
    ]),
  );
  return table(["runtime", "kernels", ...names.map((name) => `over ${name}`)], rows);
}

function threads(results: Results): string {
  const figures = results.list(MAIN, "threads");
  const rows = figures
    .filter((figure) => figure.ratio !== undefined)
    .map(({ name, value, unit, ratio: times }) => [
      name,
      `${value.toPrecision(3)} ${unit}`,
      ratio(times as number),
    ]);
  return table(["", "on 2 threads", "times as fast as on 1"], rows);
}

/** The values' format, tokens and size. */
const TWO_FOUR = /^twoFourLinear (?:(\w+) )?(\d+) x (\d+) x \3$/;

/** One measured product with 2:4 weights: which weights, how many tokens, and its relative time. */
export interface TwoFourPoint {
  readonly form: string;
  readonly size: number;
  readonly tokens: number;
  readonly ratio: number;
}

export function twoFourPoints(results: Results): TwoFourPoint[] {
  return results.list(MAIN, "two-four").flatMap(({ name, by, ratio: time }) => {
    const [, format, tokens, size] = name.match(TWO_FOUR) ?? [];
    if (!tokens || time === undefined) return [];
    const form = [`${size}x${size}`, format, by].filter(Boolean).join(", ");
    return [{ form, size: Number(size), tokens: Number(tokens), ratio: time }];
  });
}

function twoFour(results: Results): string {
  const points = twoFourPoints(results);
  const forms = [...new Set(points.map(({ form }) => form))];
  const tokens = [...new Set(points.map((point) => point.tokens))].sort((a, b) => a - b);
  const rows = tokens.map((count) => [
    count,
    ...forms.map((form) => {
      const point = points.find((one) => one.form === form && one.tokens === count);
      return point ? ratio(point.ratio) : "";
    }),
  ]);
  return table(["tokens", ...forms], rows);
}

function sandwich(results: Results): string {
  const tokens = [1, 8, 64, 256];
  const rows = ["1024 1024", "4096 1024", "1024 4096", "2048 2048"].map((shape) => {
    const [rowCount, cols] = shape.split(" ");
    const cells = tokens.map((count) =>
      [8, 32, 128]
        .map((block) => `${count} x ${cols} -> ${rowCount} sandwich, blocks of ${block}`)
        .map((name) => ratio(results.ratio({ on: MAIN, bench: "sandwich", name })))
        .join(" / "),
    );
    return [`${rowCount}x${cols}`, ...cells];
  });
  const heads = tokens.map((count) => `${count} ${count === 1 ? "token" : "tokens"}`);
  return table(["rows x cols", ...heads], rows);
}

function sparsegpt(results: Results): string {
  const names = ["sparsegpt 2:4", "sweep 2:4", "sweep 4:8", "sweep 50%"];
  const rows = names.map((name) => [
    name,
    ...MODES.map((by) => {
      const query = { on: MAIN, bench: "sparsegpt", name: `${name} 1024x1024`, by };
      return results.figure(query).value.toFixed(3);
    }),
  ]);
  return table(["1024x1024", ...MODES.map((mode) => `${mode}, s`)], rows);
}

function compress(results: Results): string {
  const named: readonly (readonly [string, string])[] = [
    ["stories-1m", "4 blocks, width 128, bf16"],
    ["stories260k", "5 blocks, width 64, F32"],
    ["tinystories-656k", "2 blocks, width 128, F32"],
  ];
  const known = results.list(MAIN, "compress").map(({ name }) => name);
  const rows = named
    .filter(([name]) => known.includes(name))
    .map(([name, shape]) => {
      const of = (what: string) =>
        results.figure({ on: MAIN, bench: "compress", name: what }).value;
      return [`${name} (${shape})`, of(name).toFixed(1), `${of(`${name} resident`).toFixed(0)} MB`];
    });
  return table(["model", "seconds", "peak resident memory"], rows);
}

function decode(results: Results): string {
  const rows = results
    .list(MAIN, "decode")
    .filter(({ name, ratio: share }) => name.startsWith("wasm ") && share !== undefined)
    .map(({ name, value, unit, ratio: share }) => [
      name.replace(/^wasm /, ""),
      `${value.toPrecision(3)} ${unit}`,
      ratio(share as number),
    ]);
  return table(["", "2:4", "over dense"], rows);
}

function growth(results: Results): string {
  const rows = results
    .list(MAIN, "growth")
    .map(({ name, value, ratio: times }) => [
      name,
      value.toPrecision(3),
      times === undefined ? "" : ratio(times),
    ]);
  return table(["", "seconds", "over half as much"], rows);
}

function microKernels(results: Results): string {
  const of = (name: string, by: string) =>
    ratio(results.ratio({ on: MAIN, bench: "profile", name, by }));
  const shapes = results
    .list(MAIN, "profile")
    .filter(({ name, by }) => name.startsWith("micro-kernel ") && by === MODES[0])
    .map(({ name }) => name);
  const rows = shapes.map((name) => [`${name} / peak`, ...MODES.map((by) => of(name, by))]);
  const last = ["GEMM 1024 / the best of them", ...MODES.map((by) => of("gemm 1024", by))];
  return table(["", ...MODES], [...rows, last]);
}

function choleskySteps(results: Results): string {
  const steps = ["diagonal blocks", "below them", "within strips", "right of strips"];
  const rows = steps.map((step) => {
    const name = `cholesky 2048, ${step}`;
    return [
      step,
      ...MODES.map((by) => ratio(results.ratio({ on: MAIN, bench: "profile", name, by }))),
    ];
  });
  return table(["share of the time", ...MODES], rows);
}

function oneRow(results: Results): string {
  const places = ["memory", "a cache"];
  const rows = ["f32", "f16", "bf16", "int8"].map((format) => {
    const figure = (form: string, place: string) => {
      const name = `one row, ${format}, ${form}, from ${place}`;
      return results.figure({ on: MAIN, bench: "profile", name });
    };
    const cells = places.flatMap((place) => {
      const [whole, sparse] = ["dense", "2:4"].map((form) => figure(form, place));
      const rates = [whole, sparse].map(({ value }) => value.toFixed(1));
      return [...rates, ratio(sparse.ratio as number)];
    });
    return [format, ...cells];
  });
  const heads = places.flatMap((place) => [
    `dense, from ${place}, GB/s`,
    "2:4, GB/s",
    "2:4 / dense, time",
  ]);
  return table(["weights", ...heads], rows);
}

function twoThreads(results: Results): string {
  const rows = [512, 1024].map((n) => {
    const [parts, two] = ["in parts", "two threads"].map((part) => {
      return results.ratio({ on: MAIN, bench: "profile", name: `gemm ${n}, ${part}` });
    });
    return [`gemm ${n}`, ratio(parts), ratio(2 / parts), ratio(1 / two)];
  });
  return table(
    ["", "in parts, on 1 thread / whole, time", "so at most", "on 2 threads, times as fast"],
    rows,
  );
}

/** The tables by the names that the page's template has for them. */
export const TABLES: Readonly<Record<string, (results: Results) => string>> = {
  dense,
  linear,
  peers,
  threads,
  "two-four": twoFour,
  sandwich,
  sparsegpt,
  compress,
  decode,
  growth,
  "micro-kernels": microKernels,
  "cholesky-steps": choleskySteps,
  "one-row": oneRow,
  "two-threads": twoThreads,
};
