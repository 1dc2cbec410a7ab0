/** Points that others published, to compare with. */
import { parseJson } from "../checkpoint/json.js";
import { JsonField } from "./json-field.js";
import type { PublishedPoint } from "./options.js";

const MOST_POINTS = 10_000;
const MOST_DEPTH = 4;
const CURE =
  "mend it: a list of { name, bytes, perplexity, source }, of which source may be left out";

/**
 * @param points as they are given; anything may be in them
 * @throws PenjingError for the first one that is none
 */
export function checkPoints(points: unknown, where: string): PublishedPoint[] {
  return new JsonField(where, points, CURE).list(MOST_POINTS).map((one) => {
    const source = one.get("source");
    return {
      name: one.get("name").text(),
      bytes: one.get("bytes").number({ min: 1 }),
      perplexity: one.get("perplexity").number({ min: 1 }),
      ...(source.isThere && { source: source.text() }),
    };
  });
}

/** The points of a JSON file's text. */
export function readPoints(text: string, where: string): PublishedPoint[] {
  return checkPoints(parseJson(text, where, MOST_DEPTH), where);
}
