import { byteOfLetter } from "./byte-level.js";
import type { Fields } from "./fields.js";
import { readFinder, replacement } from "./normalizer.js";

/** One step from tokens to text. */
export type DecoderStep = (tokens: string[]) => string[];

// A text may hold U+FEFF, which is no mark here.
const UTF8 = { ignoreBOM: true };
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/**
 * Reads a `decoder` of tokenizer.json. Bytes that are no UTF-8 become U+FFFD as browsers do it; the
 * library's ByteFallback gives one for every byte around them, whole characters too.
 *
 * @throws PenjingError for what is not understood
 */
export function readDecoder(fields: Fields): DecoderStep[] {
  const type = fields.text("type");
  switch (type) {
    case "Sequence":
      return fields.parts("decoders").flatMap(readDecoder);
    case "ByteLevel":
      return [(tokens) => [decodeLetters(tokens)]];
    case "ByteFallback":
      return [fuseBytes];
    case "Fuse":
      return [(tokens) => [tokens.join("")]];
    case "Replace": {
      const change = replacement(readFinder(fields), fields.text("content"));
      return [(tokens) => tokens.map(change)];
    }
    case "Strip": {
      const content = fields.character("content");
      const start = fields.whole("start");
      const stop = fields.whole("stop");
      return [(tokens) => tokens.map((token) => strip(token, content, start, stop))];
    }
    case "Metaspace": {
      const sign = fields.character("replacement");
      const drops = fields.choice("prepend_scheme", ["always", "first", "never"], "always");
      return [
        (tokens) =>
          tokens.map((token, i) => token.replaceAll(sign, i === 0 && drops !== "never" ? "" : " ")),
      ];
    }
  }
  return fields.refuseUnsupported(`the decoder "${type}"`);
}

/** The text of letters of the byte-level alphabet; a token with other characters is taken as it is. */
function decodeLetters(tokens: readonly string[]): string {
  const bytes: number[] = [];
  const encoder = new TextEncoder();
  for (const token of tokens) {
    const start = bytes.length;
    for (let i = 0; i < token.length; i++) {
      const byte = byteOfLetter(token.charCodeAt(i));
      if (byte === undefined) {
        bytes.length = start;
        for (const own of encoder.encode(token)) bytes.push(own);
        break;
      }
      bytes.push(byte);
    }
  }
  return new TextDecoder("utf-8", UTF8).decode(Uint8Array.from(bytes));
}

/** Joins the tokens of bytes to text. */
function fuseBytes(tokens: readonly string[]): string[] {
  const fused: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    fused.push(new TextDecoder("utf-8", UTF8).decode(Uint8Array.from(bytes)));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token);
    if (byte) {
      bytes.push(Number.parseInt(byte[1], 16));
      continue;
    }
    flush();
    fused.push(token);
  }
  flush();
  return fused;
}

/** Takes at most some copies of a character from both ends. */
function strip(token: string, character: string, most: number, mostBehind: number): string {
  let start = 0;
  for (let i = 0; i < most && token.startsWith(character, start); i++) start += character.length;
  let end = token.length;
  for (let i = 0; i < mostBehind && end > start && token.slice(0, end).endsWith(character); i++) {
    end -= character.length;
  }
  return token.slice(start, end);
}
