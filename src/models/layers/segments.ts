import type { Backend } from "../../backend.js";
import type { Tensor } from "../../tensor.js";
import type { HeadScales, KeyValueCache } from "./key-value-cache.js";

/** Rows of a run's input that follow each other in one text. */
export interface Segment {
  /** Its first row. */
  readonly first: number;
  readonly rows: number;
  /**
   * Where in its text it begins. What stands before are the rows that earlier segments of the run have at
   * these positions, so that several texts share what they begin with; or what a cache holds.
   */
  readonly position: number;
  /** Of its text alone, in a run of several: holds what stands before, and takes its rows. */
  readonly cache?: KeyValueCache | undefined;
}

/** Texts of one length, one after another. */
export function wholeTexts(count: number, length: number): Segment[] {
  return Array.from({ length: count }, (_, i) => ({
    first: i * length,
    rows: length,
    position: 0,
  }));
}

/** Keys and values of a segment, and of what stands before it. */
export interface Seen {
  readonly keys: Tensor;
  readonly values: Tensor;
  /** Of keys and values that a cache holds as int8. */
  readonly scales?: HeadScales | undefined;
  /** The row of the text's first position. */
  readonly first: number;
}

/** Where the keys and values of a run's rows stand. */
export interface RunRows {
  readonly k: Tensor;
  readonly v: Tensor;
  /** Of one layer, with those of the run in it already. */
  readonly cache: KeyValueCache | undefined;
  readonly layer: number;
  /** Room for keys and for values that are not in one piece, as many rows as the run has. */
  room(name: "pastKeys" | "pastValues"): Tensor;
}

/**
 * Keys and values of one segment after another with those before them in one piece. Each is to be used
 * before the next is asked for.
 */
export function* seenBy(
  backend: Backend,
  segments: readonly Segment[],
  { k, v, cache, layer, room }: RunRows,
): Generator<[Segment, Seen], void, void> {
  const isAlone = segments.every(({ position, cache }) => position === 0 && !cache);
  for (const segment of segments) {
    const { first, rows, position, cache: own } = segment;
    if (cache) {
      yield [
        segment,
        {
          keys: cache.keys[layer],
          values: cache.values[layer],
          scales: cache.scales[layer],
          first: 0,
        },
      ];
    } else if (isAlone) yield [segment, { keys: k, values: v, first }];
    else {
      const [keys, values] = own
        ? [own.keys[layer], own.values[layer]]
        : [room("pastKeys"), room("pastValues")];
      const scales = own?.scales[layer];
      for (const [given, past, factors] of [
        [k, keys, scales?.keys],
        [v, values, scales?.values],
      ] as const) {
        const from = backend.rows(given, first, rows);
        const to = backend.rows(past, position, rows);
        if (factors) backend.ops.roundHeads(from, to, backend.rows(factors, position, rows));
        else backend.copy(from, to);
      }
      yield [segment, { keys, values, scales, first: 0 }];
    }
  }
}
