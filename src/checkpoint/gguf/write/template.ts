import type { Folder } from "../../../platform/files.js";
import { isJsonObject, type JsonObject, own } from "../../json.js";
import { readSettings } from "../../tokenizer.js";
import type { KeyValues } from "./values.js";

const KEY = "tokenizer.chat_template";
/** Longest template accepted, in bytes; the largest published ones have about 40 kB. */
const MAX_BYTES = 1_000_000;

/** The chat templates of a folder: chat_template.jinja, or those of its older files. */
export async function templateKeys(folder: Folder, settings: JsonObject): Promise<KeyValues> {
  const name = "chat_template.jinja";
  if (await folder.has(name)) return { [KEY]: ["STRING", await folder.readText(name, MAX_BYTES)] };
  const older = (await readSettings(folder, "chat_template.json")) ?? {};
  const value = own(settings, "chat_template") ?? own(older, "chat_template");
  if (typeof value === "string") return { [KEY]: ["STRING", value] };
  const several = Array.isArray(value) ? value.filter(isJsonObject) : [];
  return Object.fromEntries(
    several
      .filter(({ name, template }) => typeof name === "string" && typeof template === "string")
      .map(({ name, template }) => [
        name === "default" ? KEY : `${KEY}.${name}`,
        ["STRING", template as string] as const,
      ]),
  );
}
