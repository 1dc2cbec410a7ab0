import { type Document, isScalar, parseDocument, visit } from "yaml";
import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";

/** Longest text, in UTF-16 code units: YAML is read at about 2 MB a second. */
const LONGEST = 2 ** 20;

/**
 * What YAML or JSON says.
 *
 * @param cure of a text that is too long
 * @throws PenjingError when it is neither, has a key twice, or is too long
 */
export function parseYaml(text: string, where: string, cure: string): unknown {
  if (text.length > LONGEST) {
    throw new PenjingError(
      where,
      `it has ${text.length} characters, more than the ${LONGEST} accepted; ${cure}.`,
    );
  }
  try {
    // The library compares every key with every other one: it takes seconds where there are many.
    const document = parseDocument(text, { uniqueKeys: false, stringKeys: true });
    // A warning is of something that was not understood, such as a tag.
    const [fault] = [...document.errors, ...document.warnings];
    if (fault) throw fault;
    refuseRepeatedKeys(document);
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    const reason = (cause as Error).message.split("\n")[0].replace(/:$/, "");
    throw new PenjingError(where, `it is neither YAML nor JSON (${reason}); mend it there.`, {
      cause,
    });
  }
}

/** @throws Error naming the first key that stands twice in one mapping */
function refuseRepeatedKeys(document: Document): void {
  visit(document, {
    Map(_, { items }) {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        const name = isScalar(key) ? key.value : key;
        if (seen.has(name)) throw new Error(`the key ${quote(name)} stands twice in one mapping`);
        seen.add(name);
      }
    },
  });
}
