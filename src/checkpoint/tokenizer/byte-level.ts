// The byte-level alphabet: each byte has a printable character, so that any text is a word over 256
// letters (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", 2.2).

/** Bytes that stand for themselves as Latin-1 characters: those that print and are no space. */
function standsForItself(byte: number): boolean {
  return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
}

/** The character of each byte. */
const LETTERS: string[] = [];
/** The byte of each letter, by its code. */
const BYTES = new Map<number, number>();
let others = 0;
for (let byte = 0; byte < 256; byte++) {
  const code = standsForItself(byte) ? byte : 0x100 + others++;
  LETTERS.push(String.fromCharCode(code));
  BYTES.set(code, byte);
}

/** The byte of a letter of the byte-level alphabet; undefined for other characters. */
export function byteOfLetter(code: number): number | undefined {
  return BYTES.get(code);
}

/** UTF-16 units from which a text is changed in pieces: grown letter by letter it would take much memory. */
const LONG = 1 << 13;

/** A text's UTF-8 bytes as letters of the byte-level alphabet. */
export function toLetters(text: string): string {
  if (text.length < LONG) return lettersOf(text);
  const bytes = new TextEncoder().encode(text);
  const codes = new Uint16Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) codes[i] = LETTERS[bytes[i]].charCodeAt(0);
  const parts: string[] = [];
  for (let start = 0; start < codes.length; start += LONG) {
    parts.push(String.fromCharCode(...codes.subarray(start, start + LONG)));
  }
  return parts.join("");
}

function lettersOf(text: string): string {
  let letters = "";
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) {
      letters += LETTERS[code];
    } else if (code < 0x800) {
      letters += LETTERS[0xc0 | (code >> 6)] + LETTERS[0x80 | (code & 0x3f)];
    } else if ((code & 0xf800) === 0xd800) {
      const whole = text.codePointAt(i)!;
      i++;
      letters += LETTERS[0xf0 | (whole >> 18)] + LETTERS[0x80 | ((whole >> 12) & 0x3f)];
      letters += LETTERS[0x80 | ((whole >> 6) & 0x3f)] + LETTERS[0x80 | (whole & 0x3f)];
    } else {
      letters += LETTERS[0xe0 | (code >> 12)] + LETTERS[0x80 | ((code >> 6) & 0x3f)];
      letters += LETTERS[0x80 | (code & 0x3f)];
    }
  }
  return letters;
}
