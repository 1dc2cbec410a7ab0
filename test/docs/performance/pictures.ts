import type { TopLevelSpec } from "vega-lite";
import type { Results } from "./results.js";
import { MAIN, twoFourPoints } from "./tables.js";

interface RatePoint {
  readonly contender: string;
  readonly size: number;
  readonly rate: number;
  readonly isPeak: boolean;
}

/** GFLOP/s of every contender, and of the peaks beside them. */
function ratePoints(results: Results): RatePoint[] {
  return results.list(MAIN, "peers").flatMap(({ name, by, value: rate }) => {
    const [, peak, size] = name.match(/^(peak beside )?gemm (\d+)$/) ?? [];
    if (!size || !by) return [];
    const own = by === "baseline" || by === "relaxed";
    const isPeak = peak !== undefined;
    const contender = isPeak ? `peak, ${by}` : own ? `penjing, ${by}` : by;
    return [{ contender, size: Number(size), rate, isPeak }];
  });
}

const COMMON = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  background: "white",
  config: { aria: false, view: { stroke: null } },
  width: 420,
  height: 260,
};

/** A quantitative axis on which each step is a doubling. */
function doublings(field: string, title: string, values: readonly number[]): object {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  return {
    field,
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false },
    axis: { title, values: sorted, format: "d", grid: false },
  };
}

const LEGEND = { title: null, orient: "right", symbolType: "stroke", labelLimit: 300 };

/** A peak has the colour of the kernels below it. */
const OWN = ["#4c78a8", "#f58518"];
const OTHERS = ["#54a24b", "#b279a2", "#9d755d"];

/** GFLOP/s against size, for each contender. */
export function gemmSpec(results: Results): TopLevelSpec {
  const values = ratePoints(results);
  const contenders = [...new Set(values.map(({ contender }) => contender))];
  const peaks = contenders.filter((name) => name.startsWith("peak"));
  const own = contenders.filter((name) => name.startsWith("penjing"));
  const others = contenders.filter((name) => !peaks.includes(name) && !own.includes(name));
  // Peaks first, as they are on top.
  const domain = [...peaks, ...own, ...others];
  const range = domain.map((name) => {
    if (others.includes(name)) return OTHERS[others.indexOf(name) % OTHERS.length];
    return OWN[name.endsWith("relaxed") ? 1 : 0];
  });
  const sizes = values.map(({ size }) => size);
  return {
    ...COMMON,
    data: { values },
    mark: { type: "line", strokeWidth: 2, point: true },
    encoding: {
      x: doublings("size", "size of the square matrices", sizes),
      y: { field: "rate", type: "quantitative", axis: { title: "GFLOP/s, one thread" } },
      color: {
        field: "contender",
        type: "nominal",
        sort: domain,
        scale: { domain, range },
        legend: LEGEND,
      },
      strokeDash: {
        field: "isPeak",
        type: "nominal",
        scale: {
          domain: [false, true],
          range: [
            [1, 0],
            [4, 4],
          ],
        },
        legend: null,
      },
    },
  } as unknown as TopLevelSpec;
}

/** Time of 2:4 weights over that of dense ones against tokens. */
export function twoFourSpec(results: Results): TopLevelSpec {
  const values = twoFourPoints(results);
  const lines: object = {
    data: { values },
    mark: { type: "line", strokeWidth: 2, point: true },
    encoding: {
      x: doublings(
        "tokens",
        "tokens",
        values.map(({ tokens }) => tokens),
      ),
      y: {
        field: "ratio",
        type: "quantitative",
        axis: { title: "time, 2:4 / dense" },
        scale: { domainMin: 0 },
      },
      color: {
        field: "form",
        type: "nominal",
        sort: null,
        scale: { scheme: "tableau10" },
        legend: LEGEND,
      },
    },
  };
  const rule = (at: number, dash: readonly number[]): object => ({
    data: { values: [{ at }] },
    mark: { type: "rule", strokeDash: dash, color: "#888" },
    encoding: { y: { field: "at", type: "quantitative" } },
  });
  return {
    ...COMMON,
    layer: [rule(1, [1, 0]), rule(0.5, [4, 4]), lines],
  } as unknown as TopLevelSpec;
}
