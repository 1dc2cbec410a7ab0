import { extent } from "d3-array";
import { type Figure, panelsOf } from "../figure.js";
import { type Cell, heatMaps } from "../heat-map.js";
import { percentText, significant } from "../numbers.js";
import type { Concentration, Result } from "../result.js";
import { shortNames } from "./layer-error.js";

/** Rows of a map at most. */
const MOST_GROUPS = 16;

interface Entry extends Concentration {
  readonly block: number;
  /** The linears in few letters, such as "q k v". */
  readonly group: string;
}

/** "q k v" of "self_attn.q_proj", "self_attn.k_proj" and "self_attn.v_proj". */
function groupName({ linears }: Concentration): string {
  return shortNames(linears)
    .map((name) => name.replace(/_proj$/, ""))
    .join(" ");
}

/** What is known of each block's groups; of several rotations the first begins and the last ends. */
function entriesOf({ blocks }: Result): Entry[] {
  const entries = new Map<string, Entry>();
  for (const { block, concentrations } of blocks) {
    for (const one of concentrations) {
      const group = groupName(one);
      const key = JSON.stringify([block, group, one.loss]);
      entries.set(key, { ...one, block, group, before: entries.get(key)?.before ?? one.before });
    }
  }
  return [...entries.values()];
}

/** Losses that are shares, in the order in which they are preferred, and the one in nats. */
const SCALES = ["removed", "rounding", "entropy"] as const satisfies Concentration["loss"][];

/** Those that have one scale, as most have: a share, or the entropy. */
function shownOf(result: Result) {
  const all = entriesOf(result);
  const sets = SCALES.map((scale) => all.filter(({ loss }) => loss === scale));
  const alike = sets.reduce((most, set) => (set.length > most.length ? set : most));
  const scale = alike[0]?.loss ?? SCALES[0];
  const groups = new Set([...new Set(alike.map(({ group }) => group))].slice(0, MOST_GROUPS));
  const entries = alike.filter(({ group }) => groups.has(group));
  return { entries, scale, rest: all.length - entries.length };
}

/** The smallest and the largest value of all results that have the same scale. */
function domainOf(results: readonly Result[], scale: Concentration["loss"]): [number, number] {
  const alike = results.map(shownOf).filter((one) => one.scale === scale);
  const values = alike.flatMap(({ entries }) => entries.flatMap((one) => [one.before, one.after]));
  const [low = 0, high = 1] = extent(values);
  return [low, high];
}

export function rotationFigure(results: readonly Result[]): Figure {
  return {
    id: "rotation",
    title: "What the rotation concentrated",
    caption:
      "A rotation turns the coordinates in which weights are written, without changing what the model computes, so that little of what matters sits in weights that will be removed. Each field stands for the linears of a block that read one input, and its strength for the share of their importance that would be removed: above without the rotation, below with it. (Where it lowered the entropy instead, for how evenly importance is spread, in nats; before a quantizer, for what rounding them is expected to cost, as a share of that without the rotation.) The paler the lower map beside the upper, the more the rotation helped.",
    ...panelsOf(results, (result) => {
      const { entries, scale, rest } = shownOf(result);
      if (entries.length === 0) return "No rotation was sought: compress with --rotate.";
      const isShare = scale !== "entropy";
      const shown = isShare ? percentText : significant;
      const unit = isShare ? "%" : "nats";
      const inUnits = (value: number) => `${shown(value)}${isShare ? "" : " "}${unit}`;
      const blocks = [...new Set(entries.map(({ block }) => block))];
      const groups = [...new Set(entries.map(({ group }) => group))];
      const columns = new Map(blocks.map((block, column) => [block, column]));
      const cells = (key: "before" | "after") =>
        entries.map(
          (entry): Cell => ({
            column: columns.get(entry.block)!,
            row: groups.indexOf(entry.group),
            value: entry[key],
            text: `block ${entry.block}, ${entry.group}: ${inUnits(entry[key])} ${key}`,
          }),
        );
      return {
        chart: heatMaps({
          label: `Heat maps of importance by block and linear before and after, ${result.name}`,
          columns: blocks.map(String),
          rows: groups,
          maps: [
            { name: "before", cells: cells("before") },
            { name: "after", cells: cells("after") },
          ],
          xName: "block",
          domain: domainOf(results, scale),
          shown: inUnits,
        }),
        note:
          rest > 0
            ? `${rest} fields are left out: they are measured otherwise, or too many.`
            : undefined,
        table: {
          columns: ["linears", "block", `before (${unit})`, `after (${unit})`],
          rows: entries.map(({ block, group, before, after }) => [
            group,
            String(block),
            shown(before),
            shown(after),
          ]),
        },
      };
    }),
  };
}
