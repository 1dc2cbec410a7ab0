import { quote } from "../../quote.js";
import { Fields } from "./fields.js";

/** Ids that are put around a text. */
export interface Around {
  readonly before: readonly number[];
  readonly behind: readonly number[];
}

const NOTHING: Around = { before: [], behind: [] };

/**
 * Reads a `post_processor` of tokenizer.json: what it puts around one text.
 *
 * @throws PenjingError for what is not understood
 */
export function readPostProcessor(fields: Fields): Around {
  const type = fields.text("type");
  switch (type) {
    case "ByteLevel":
      // It only moves offsets.
      return NOTHING;
    case "Sequence":
      return fields.parts("processors").reduce<Around>((inner, part) => {
        const { before, behind } = readPostProcessor(part);
        return { before: [...before, ...inner.before], behind: [...inner.behind, ...behind] };
      }, NOTHING);
    case "TemplateProcessing":
      return readTemplate(fields);
    case "BertProcessing":
    case "RobertaProcessing":
      return { before: [readPair(fields, "cls")], behind: [readPair(fields, "sep")] };
  }
  return fields.refuseUnsupported(`the post-processor "${type}"`);
}

function readTemplate(fields: Fields): Around {
  const before: number[] = [];
  const behind: number[] = [];
  let texts = 0;
  for (const piece of fields.parts("single")) {
    if (piece.get("Sequence") !== undefined) {
      piece.part("Sequence").choice("id", ["A"]);
      texts++;
      continue;
    }
    const name = piece.part("SpecialToken").text("id");
    const tokens = fields.part("special_tokens");
    if (tokens.get(name) === undefined) {
      fields.refuse(
        `puts ${quote(name)} around a text, which its special_tokens lack; fetch it again`,
      );
    }
    for (const id of tokens.part(name).list("ids")) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 31) {
        fields.refuse(`has the id ${quote(id)}, must be a whole number; fetch it again`);
      }
      (texts === 0 ? before : behind).push(id as number);
    }
  }
  if (texts !== 1)
    fields.refuse(`holds the text ${texts} times, must hold it once; fetch it again`);
  return { before, behind };
}

function readPair(fields: Fields, name: string): number {
  const [, id] = fields.list(name);
  return new Fields(fields.where, `${fields.path}.${name}`, { id }).whole("id");
}
