import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../../shared.js";
import { svgOf } from "../svg.js";
import { fillPage } from "./page.js";
import { gemmSpec, twoFourSpec } from "./pictures.js";
import { Results } from "./results.js";

/** The measured figures that the page is made of, in the repository. */
export const FIGURES = "docs/performance.json";

const TEMPLATE = "test/docs/performance/template.md";

function read(path: string): string {
  return readFileSync(join(repositoryRoot, path), "utf8");
}

/** The committed figures. */
export function readResults(): Results {
  return new Results(JSON.parse(read(FIGURES)));
}

/** The page and its pictures as the figures and the template make them, by path in the repository. */
export async function makeFiles(results: Results): Promise<Map<string, string>> {
  return new Map([
    ["docs/performance.md", fillPage(read(TEMPLATE), results)],
    ["docs/pictures/gemm.svg", await svgOf(gemmSpec(results))],
    ["docs/pictures/two-four.svg", await svgOf(twoFourSpec(results))],
  ]);
}
