/** The library's words for options, as the page's own. */

/** The fields of the form by the names of the library's options. */
const FIELDS: Readonly<Record<string, string>> = {
  calibration: "Text to calibrate on",
  text: "Text to measure perplexity on",
  length: "Tokens in each calibration window",
  samples: "Calibration windows",
  layout: "Stored as",
  temperature: "Temperature",
  maxNewTokens: "Tokens at most",
  prompt: "Your text",
  messages: "The conversation",
  out: "Result",
};

/** What the page calls values of these. */
const VALUES: Readonly<Record<string, string>> = {
  "two-four": "packed 2:4",
  "sparse-bitmask": "packed with a bit mask",
  "grouped-int": "packed codes",
};

/** A message of the library, such as "[length] it is 1", with the fields of the form in it. */
export function onPage(message: string): string {
  const [, place, rest] = /^\[([^\]]*)\] (.*)$/s.exec(message) ?? [];
  // The page leaves the window at its default.
  const cures = (rest ?? message).replace(" or a smaller `window`", "");
  const named = cures.replace(/`(\w+)(?:: ([^`]+))?`/g, (text, name: string, value?: string) => {
    if (!(name in FIELDS)) return text;
    return value === undefined
      ? `“${FIELDS[name]}”`
      : `“${FIELDS[name]}: ${VALUES[value] ?? value}”`;
  });
  return place ? `${FIELDS[place] ?? place}: ${named}` : named;
}
