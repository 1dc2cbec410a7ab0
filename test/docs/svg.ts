import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

/** A vega-lite specification as an SVG file's text. */
export async function svgOf(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  return `${await view.toSVG()}\n`;
}
