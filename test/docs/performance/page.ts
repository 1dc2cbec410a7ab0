import type { Results } from "./results.js";
import { MAIN, TABLES } from "./tables.js";

/** A place of the template: `{{table NAME}}`, or `{{BENCH | NAME | BY | value or ratio}}`. */
const PLACE = /\{\{([^{}]+)\}\}/g;

/** One figure of the main runtime, with three digits. */
function inline(results: Results, text: string): string {
  const parts = text.split("|").map((part) => part.trim());
  const kind = parts.pop();
  const [bench, name, by] = parts;
  const query = { on: MAIN, bench, name, ...(by && { by }) };
  if (kind === "ratio") return results.ratio(query).toFixed(2);
  if (kind !== "value") throw new Error(`{{${text}}} ends neither with value nor with ratio.`);
  return String(Number(results.figure(query).value.toPrecision(3)));
}

/**
 * The page: the template's prose with its places filled.
 *
 * @throws Error that names the place whose figures are not there
 */
export function fillPage(template: string, results: Results): string {
  return template.replace(PLACE, (_, place: string) => {
    const text = place.trim();
    if (text === "runtimes") return results.runtimes.join(", ");
    const [, name] = text.match(/^table (.+)$/) ?? [];
    if (!name) return inline(results, text);
    const make = TABLES[name];
    if (!make) throw new Error(`The template names a table "${name}"; there is none.`);
    return make(results);
  });
}
