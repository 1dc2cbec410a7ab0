import { extent } from "d3-array";
import { line } from "d3-shape";
import { element, tooltip } from "./markup.js";
import { tickText } from "./numbers.js";
import {
  BOTTOM,
  bottomAxis,
  drawing,
  LEFT,
  type LegendEntry,
  leftAxis,
  legend,
  lookOf,
  markAt,
  niceScale,
  RIGHT,
  TOP,
  textAt,
  ticksOf,
  WIDTH,
} from "./plot.js";

export interface Place {
  readonly name: string;
  readonly x: number;
  /** Above 0. */
  readonly y: number;
  /** A number in the chart's list of kinds. */
  readonly kind: number;
  /** Shown where the pointer rests. */
  readonly text: string;
}

export interface ScatterChart {
  /** What a screen reader says. */
  readonly label: string;
  /** What the places are; the last kind is of others, in grey. */
  readonly kinds: readonly string[];
  readonly places: readonly Place[];
  /** Joined by a line, in order of x. */
  readonly front: readonly Place[];
  readonly frontName: string;
  readonly xName: string;
  readonly yName: string;
}

const HEIGHT = 340;
const FRONT_DASH = "5 4";
/** Heights of a name, and how wide a letter of one is at most. */
const NAME_HEIGHT = 14;
const LETTER = 6.6;
/** Places from which on those of others have no names beside them. */
const MOST_NAMES = 24;
const LONGEST_NAME = 26;

/** A class of a colour, or grey. */
function classOf(kind: number, kinds: readonly string[]): string {
  return kind === kinds.length - 1 ? "grey" : `s${lookOf(kind).colour}`;
}

/** Points with their names, and a line that joins the best. */
export function scatterChart(chart: ScatterChart): string {
  const { label, kinds, places, front, frontName, xName, yName } = chart;
  const [low = 1, high = 1] = extent(places, ({ y }) => y);
  const isLog = high / low > 3;
  const bottom = HEIGHT - BOTTOM;
  const right = WIDTH - RIGHT;
  const [, most = 1] = extent(places, ({ x }) => x);
  const x = niceScale([0, most], [LEFT, right], false);
  const y = niceScale([low, high], [bottom, TOP], isLog);
  const ticks = ticksOf(x, 6, false).map((value) => ({ x: x(value), text: tickText(value) }));
  const path = line<Place>(
    (place) => x(place.x),
    (place) => y(place.y),
  ).digits(1);
  const marks = places.map((place) =>
    element(
      "g",
      { class: classOf(place.kind, kinds) },
      markAt(x(place.x), y(place.y), { mark: place.kind }, "m", tooltip(place.text)),
    ),
  );
  const svg = drawing(
    HEIGHT,
    label,
    leftAxis(y, yName, right, isLog),
    bottomAxis(ticks, xName, bottom, [LEFT, right]),
    front.length > 1
      ? element("path", {
          class: "line front",
          d: path(front) ?? "",
          "stroke-dasharray": FRONT_DASH,
        })
      : "",
    ...marks,
    ...names(chart, (place) => [x(place.x), y(place.y)]),
  );
  const entries = kinds.map((name, kind): LegendEntry => {
    return { ...lookOf(kind), name, kind: "mark", style: classOf(kind, kinds) };
  });
  const shown = entries.filter((_, kind) => places.some((place) => place.kind === kind));
  const joined: LegendEntry = {
    ...{ ...lookOf(0), dash: FRONT_DASH },
    ...{ name: frontName, kind: "line", style: "ink" },
  };
  return svg + legend(front.length > 1 ? [...shown, joined] : shown);
}

/** Names beside their places, moved down or up where one would lie on another. */
function names(
  { kinds, places }: ScatterChart,
  at: (place: Place) => readonly [x: number, y: number],
): string[] {
  const taken: { left: number; right: number; y: number }[] = [];
  const named = places.filter(({ kind }) => kind < kinds.length - 1 || places.length <= MOST_NAMES);
  return named
    .toSorted((a, b) => at(a)[1] - at(b)[1])
    .map((place) => {
      const [x, y] = at(place);
      const name =
        place.name.length > LONGEST_NAME
          ? `${place.name.slice(0, LONGEST_NAME - 3)}...`
          : place.name;
      const width = LETTER * name.length;
      const isRight = x + 10 + width <= WIDTH;
      const left = isRight ? x + 8 : Math.max(0, x - 8 - width);
      const hits = (wanted: number) =>
        taken.some(
          (one) =>
            one.left < left + width && left < one.right && Math.abs(one.y - wanted) < NAME_HEIGHT,
        );
      let free = y;
      for (let step = 1; hits(free) && step < 40; step++) {
        const offset = Math.ceil(step / 2) * 7 * (step % 2 === 0 ? -1 : 1);
        free = Math.min(HEIGHT - BOTTOM - 4, Math.max(TOP, y + offset));
      }
      taken.push({ left, right: left + width, y: free });
      const style = {
        class: `name ${classOf(place.kind, kinds)}`,
        "text-anchor": isRight ? "start" : "end",
      };
      return textAt(isRight ? left : x - 8, free - 3, name, style);
    });
}
