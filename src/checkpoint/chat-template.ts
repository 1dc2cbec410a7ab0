import { checkArguments, OPEN_FOLDER, required } from "../arguments.js";
import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { quote } from "../quote.js";
import { isJsonObject, type JsonObject, own } from "./json.js";
import { readSettings } from "./tokenizer.js";

/** Longest template accepted, in bytes; the largest published ones have about 40 KB. */
const MAX_TEMPLATE_BYTES = 1_000_000;

/** One message of a conversation. */
export interface ChatMessage {
  /** Who speaks: "system", "user", "assistant", or another that the model's template knows. */
  readonly role: string;
  readonly content: string;
}

export interface RenderOptions {
  /**
   * End with what begins the model's answer.
   *
   * @default false
   */
  readonly addGenerationPrompt?: boolean | undefined;
}

/** How a model was trained to read conversations. */
export interface ChatTemplate {
  /**
   * The text of a conversation, as transformers' `apply_chat_template` gives it. Special tokens are
   * written out in it, the BOS token too: encode it without adding any.
   *
   * @throws PenjingError when the template refuses the messages, fails, or takes too long
   */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/**
 * The chat template of a model folder: chat_template.jinja, or `chat_template` of
 * tokenizer_config.json or chat_template.json. Of several named ones it is the one named "default".
 *
 * @returns undefined when the folder has none, as that of a model which was not trained to chat
 * @throws PenjingError when a file is malformed, or the template is not Jinja
 */
export async function loadChatTemplate(folder: Folder): Promise<ChatTemplate | undefined> {
  checkArguments("loadChatTemplate", { folder }, { folder: required(OPEN_FOLDER) });
  const settings = (await readSettings(folder, "tokenizer_config.json")) ?? {};
  const found = await findTemplate(folder, settings);
  if (!found) return undefined;
  const older = (await readSettings(folder, "special_tokens_map.json")) ?? {};
  const tokens = { ...specialTokens(older), ...specialTokens(settings) };
  const { compileTemplate } = await import("./jinja.js");
  const render = compileTemplate(found.text, found.where);
  return {
    render: (messages, { addGenerationPrompt = false } = {}) =>
      render({
        ...tokens,
        messages,
        tools: null,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
      }),
  };
}

/**
 * The chat template of a folder that has to have one.
 *
 * @param instead what can be given in the place of messages; ends "give ..."
 * @throws PenjingError when it has none
 */
export async function requireChatTemplate(
  folder: Folder,
  instead = "a prompt for it to continue",
): Promise<ChatTemplate> {
  const template = await loadChatTemplate(folder);
  if (template) return template;
  throw new PenjingError(
    folder.path,
    `it has no chat template, so it was not trained to answer messages; give ${instead}, or put the chat_template.jinja of its instruct version here.`,
  );
}

interface FoundTemplate {
  readonly where: string;
  readonly text: string;
}

async function findTemplate(
  folder: Folder,
  settings: JsonObject,
): Promise<FoundTemplate | undefined> {
  const name = "chat_template.jinja";
  const where = `${folder.path}/${name}`;
  if (await folder.has(name))
    return { where, text: await folder.readText(name, MAX_TEMPLATE_BYTES) };
  const older = "chat_template.json";
  for (const [file, object] of [
    ["tokenizer_config.json", settings],
    [older, (await readSettings(folder, older)) ?? {}],
  ] as const) {
    const value = own(object, "chat_template") ?? undefined;
    if (value === undefined) continue;
    const text = chosen(value, `${folder.path}/${file}`);
    return { where: `${folder.path}/${file}`, text };
  }
  return undefined;
}

/** The text of a template, or of the default one among several. */
function chosen(value: unknown, where: string): string {
  if (typeof value === "string") {
    if (value.length <= MAX_TEMPLATE_BYTES) return value;
    const most = `the most is ${MAX_TEMPLATE_BYTES}`;
    throw new PenjingError(
      where,
      `its chat template has ${value.length} characters, ${most}; fetch the file again.`,
    );
  }
  const several = Array.isArray(value) ? value.filter(isJsonObject) : [];
  const one = several.find((entry) => own(entry, "name") === "default");
  const text = one && own(one, "template");
  if (typeof text === "string") return chosen(text, where);
  const names = several.map((entry) => quote(own(entry, "name")));
  throw new PenjingError(
    where,
    several.length > 0
      ? `its chat templates (${names.join(", ")}) lack one named "default"; name one of them so.`
      : `its chat_template must be a text or a list of named texts, found ${quote(value)}; fetch the file again.`,
  );
}

/** Tokens such as `bos_token`, each as its text. */
function specialTokens(settings: JsonObject): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(settings)) {
    const text = isJsonObject(value) ? own(value, "content") : value;
    if (/^\w+_token$/.test(name) && typeof text === "string") tokens[name] = text;
  }
  return tokens;
}
