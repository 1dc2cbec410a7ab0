import { shaders } from "#shaders";
import { PenjingError } from "../../errors.js";

/** What a template may ask about: switches for `//: if NAME`, numbers for `$NAME`. */
export type Constants = Readonly<Record<string, number | boolean>>;

/**
 * The WGSL of a shader. A line `//: if NAME` keeps what follows, up to `//: else` or `//: end`,
 * only when the constant is true; `$NAME` becomes the constant; `//: include FILE` is another
 * shader's text.
 */
export function shaderText(name: string, constants: Constants): string {
  const source = shaders[name];
  if (source === undefined) throw new PenjingError("webgpu", `there is no shader "${name}".`);
  const kept: boolean[] = [];
  const lines: string[] = [];
  for (const line of source.split("\n")) {
    const [, directive, argument = ""] = line.match(/^\/\/: (\w+) ?(\S*)$/) ?? [];
    if (directive === "if") kept.push(Boolean(constants[argument]));
    else if (directive === "else") kept.push(!kept.pop());
    else if (directive === "end") kept.pop();
    else if (kept.includes(false)) continue;
    else if (directive === "include") lines.push(shaderText(argument, constants));
    else lines.push(line.replace(/\$(\w+)/g, (_, constant: string) => String(constants[constant])));
  }
  return lines.join("\n");
}

/** How each binding from 1 on is used, as declared: the uniform parameters are binding 0. */
export function bindingsOf(text: string): ("read" | "read_write")[] {
  const found = text.matchAll(/@binding\((\d+)\) var<storage, (read|read_write)>/g);
  const modes: ("read" | "read_write")[] = [];
  for (const [, binding, mode] of found) modes[Number(binding) - 1] = mode as "read";
  return modes;
}
