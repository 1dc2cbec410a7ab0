/**
 * The places of src/ from the ground up: a folder (everything below it that has no place of its
 * own), or a file without its ending. A file imports from places of lower lines, and from its own
 * folder.
 */
export const PLACES: readonly (readonly string[])[] = [
  ["quote", "digest", "bytes-text"],
  ["errors", "tensor", "random", "version", "plugin-id"],
  ["arguments", "form"],
  ["forms"],
  ["backends/operations"],
  ["sparsity", "config-reader", "pack", "snapshot"],
  ["options"],
  ["backend"],
  ["layer-error", "decode", "run"],
  ["steps", "pairs"],
  ["statistic", "hessian-check", "grid-solver"],
  ["layout", "method", "model", "sample"],
  ["mask", "grid", "outcome", "extras", "statistics-gatherer", "platform"],
  ["normalise", "factors", "least-squares", "hub"],
  ["methods", "layouts", "statistics", "backends", "checkpoint", "rotation"],
  ["quantizers", "models/layers"],
  ["models/families"],
  ["layout-check", "datasets"],
  ["plugin"],
  ["registry"],
  ["pack-matrix", "text"],
  ["models", "open-backend"],
  ["scaling"],
  ["export", "tasks"],
  ["evaluate"],
  ["compress", "evaluate-tasks", "generate", "inspect"],
  ["prune", "importance-matrix", "report", "doctor", "plan", "generate-batch"],
  ["index", "kit"],
  ["cli"],
];

const MOST_LINES = 400;
const MOST_KERNEL_LINES = 200;
const LINES_OF_HEAD = 12;

/** Source files by their path in the repository, as in "src/methods/wanda.ts". */
export type Sources = ReadonlyMap<string, string>;

export interface Import {
  /** As written, as in "../tensor.js". */
  readonly specifier: string;
  /** Written as `import(...)`, so run only when reached. */
  readonly isDynamic: boolean;
}

/** The text without comments. Strings stay, so that a `//` in one does not start a comment. */
export function withoutComments(text: string): string {
  const token =
    /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/.*$/gm;
  return text.replace(token, (_, string: string | undefined) => string ?? "");
}

/** Every import of a file, those of types and re-exports included. */
export function importsOf(text: string): Import[] {
  const code = withoutComments(text);
  const found = (pattern: RegExp, isDynamic: boolean) =>
    [...code.matchAll(pattern)].map(([, specifier]) => ({ specifier, isDynamic }));
  return [
    ...found(/^(?:import|export)\b[^;"'()]*?\bfrom\s*["']([^"']+)["']/gm, false),
    ...found(/^import\s*["']([^"']+)["']/gm, false),
    ...found(/\bimport\(\s*["']([^"']+)["']/g, true),
  ];
}

/** The path that a relative import of `from` means, with the source's ending. */
function resolveImport(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.replace(/\.js$/, ".ts").split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function placeOf(path: string): string {
  const [outer, inner] = path
    .replace(/^src\//, "")
    .replace(/\.ts$/, "")
    .split("/");
  const nested = `${outer}/${inner}`;
  return heightOf(nested) < 0 ? outer : nested;
}

function heightOf(place: string): number {
  return PLACES.findIndex((line) => line.includes(place));
}

function importProblems(path: string, text: string): string[] {
  const place = placeOf(path);
  const height = heightOf(place);
  if (height < 0) {
    const where = "add it to PLACES in test/rules/sources.ts, above all that it imports";
    return [`${path}: "${place}" has no place yet; ${where}.`];
  }
  const problems: string[] = [];
  for (const { specifier, isDynamic } of importsOf(text)) {
    if (specifier.startsWith("node:") && !isDynamic && !["cli", "platform"].includes(place)) {
      problems.push(
        `${path} imports ${specifier} at its top, so browsers cannot load it; move what needs it to src/platform, or import it inside the function.`,
      );
    }
    if (!specifier.startsWith(".")) continue;
    const target = placeOf(resolveImport(path, specifier));
    if (target !== place && heightOf(target) >= height) {
      problems.push(
        `${path} imports ${specifier}, but ${target} is not below ${place}; let both import an interface file, or move the shared part down.`,
      );
    }
  }
  return problems;
}

/** Every cycle's first-found path, as "a -> b -> a". */
function cycles(sources: Sources): string[] {
  const state = new Map<string, "open" | "done">();
  const trail: string[] = [];
  const problems: string[] = [];
  const visit = (path: string) => {
    if (state.get(path) === "done" || !sources.has(path)) return;
    if (state.get(path) === "open") {
      const loop = [...trail.slice(trail.indexOf(path)), path].join(" -> ");
      problems.push(`These files import one another in a circle: ${loop}.`);
      return;
    }
    state.set(path, "open");
    trail.push(path);
    for (const { specifier } of importsOf(sources.get(path) ?? "")) {
      if (specifier.startsWith(".")) visit(resolveImport(path, specifier));
    }
    trail.pop();
    state.set(path, "done");
  };
  for (const path of sources.keys()) visit(path);
  return problems;
}

/** What breaks the import rules among the files of src/; also console and process.exit. */
export function structureProblems(sources: Sources): string[] {
  const problems = [...sources].flatMap(([path, text]) => importProblems(path, text));
  for (const [path, text] of sources) {
    const speaks = withoutComments(text).match(/\bconsole\.\w+|\bprocess\.exit\w*/);
    if (speaks && placeOf(path) !== "cli") {
      problems.push(`${path} uses ${speaks[0]}: only src/cli prints and ends the process.`);
    }
  }
  return [...problems, ...cycles(sources)];
}

/** Names that say nothing, and files too long without a reason at their head. */
export function fileProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    const empty = path.match(/(?:^|\/)(utils?|helpers?|base)(?=[./])/);
    if (empty) problems.push(`${path}: "${empty[1]}" says nothing; name what it holds.`);
    const lines = text.trimEnd().split("\n");
    const most = path.startsWith("assembly/kernels/") ? MOST_KERNEL_LINES : MOST_LINES;
    const isExcused = lines.slice(0, LINES_OF_HEAD).some((line) => line.includes("long because"));
    if (lines.length > most && !isExcused) {
      problems.push(
        `${path} has ${lines.length} lines, more than ${most}: split it, or say at its head that it is "long because ...".`,
      );
    }
  }
  return problems;
}
