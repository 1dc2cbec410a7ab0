/** Rows as the tasks' files have them, of our own making. */
export const ROWS: Readonly<Record<string, readonly object[]>> = {
  "piqa/valid.jsonl": [
    { goal: "keep tea warm", sol1: "Put a lid on the cup.", sol2: "Put the cup into the snow." },
    { goal: "find a lost key", sol1: "Throw the lock away.", sol2: "Look under the mat." },
  ],
  "arc/ARC-Easy-Test.jsonl": [
    {
      question: "What do plants drink?",
      choices: { text: ["sand", "water", "light"], label: ["A", "B", "C"] },
      answerKey: "B",
    },
  ],
  "arc/ARC-Challenge-Test.jsonl": [
    {
      question: "Which is the heaviest?",
      choices: { text: ["a leaf", "a feather", "a pond", "a cloud", "a hat"], label: [..."12345"] },
      answerKey: "3",
    },
  ],
  "hellaswag/hellaswag_val.jsonl": [
    {
      activity_label: "Baking bread",
      ctx_a: "The dough  rests [step] for an hour.",
      ctx_b: "the BAKER",
      endings: [" shapes [title] it.", "sings", "flies away.", "eats the oven."],
      label: 0,
    },
  ],
  "winogrande/dev.jsonl": [
    {
      sentence: "The cup did not fit the box because _ was too large.",
      option1: "the box",
      option2: "the cup",
      answer: "2",
    },
  ],
};

const text = (value: string) => new TextEncoder().encode(value);

/** The files of the tasks, with the labels that PIQA has apart. */
export function taskFiles(
  rows: Readonly<Record<string, readonly object[]>> = ROWS,
): Record<string, Uint8Array<ArrayBuffer>> {
  const files = Object.entries(rows).map(([name, list]) => [
    name,
    text(`${list.map((row) => JSON.stringify(row)).join("\n")}\n`),
  ]);
  return { ...Object.fromEntries(files), "piqa/valid-labels.lst": text("0\n1\n") };
}
