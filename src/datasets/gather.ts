import type { ChatTemplate } from "../checkpoint/chat-template.js";
import { requireChatTemplate } from "../checkpoint/chat-template.js";
import { sha256 } from "../digest.js";
import type { Folder } from "../platform/files.js";
import { pacer } from "../run.js";
import type { Dataset } from "./dataset.js";

/** Characters of a dataset that are read at most, where not fewer are enough. */
const MOST_CHARACTERS = 2 ** 28;

export interface GatherOptions {
  /** Characters that suffice: no document more is read than they take. @default 2^28 */
  readonly most?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A text, and what was read for it. */
export interface Gathered {
  readonly text: string;
  /** Hex, of the text in UTF-8. */
  readonly sha256: string;
  /** For penjing.json. */
  readonly facts: Readonly<Record<string, string | number>>;
}

/**
 * The text of a dataset: texts are joined by an empty line, as WikiText's rows are for its usual
 * perplexity; conversations, which bring their own marks, by nothing.
 *
 * @param folder the model's, for its chat template
 * @throws PenjingError for what is wrong with the dataset, and for conversations where the model has
 *   no chat template; the signal's reason when it was aborted
 */
export async function gatherText(
  given: string | Dataset,
  folder: Folder,
  { most = MOST_CHARACTERS, signal }: GatherOptions = {},
): Promise<Gathered> {
  if (typeof given === "string") {
    return described(given, {});
  }
  const rest = pacer(signal);
  const pieces: string[] = [];
  let template: ChatTemplate | undefined;
  let [documents, characters] = [0, 0];
  let wasText = false;
  for await (const document of given.documents(signal)) {
    const isText = typeof document === "string";
    if (!isText) template ??= await requireChatTemplate(folder, "a column of texts");
    const text = isText ? document : template!.render(document);
    if (documents++ > 0 && isText && wasText) pieces.push("\n\n");
    wasText = isText;
    pieces.push(text);
    characters += text.length + 2;
    if (characters >= most) break;
    await rest();
  }
  return described(pieces.join(""), { source: given.name, ...given.facts, documents });
}

async function described(text: string, facts: Gathered["facts"]): Promise<Gathered> {
  const digest = await sha256(text);
  const own = { sha256: digest, characters: text.length };
  return { text, sha256: digest, facts: { ...facts, ...own } };
}
