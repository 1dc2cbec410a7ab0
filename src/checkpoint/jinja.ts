/** Jinja templates as transformers runs them, within bounds. Loaded where a model has a chat template. */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";

/** Nodes of a template that one rendering evaluates at most; real ones take 20 to 50 for a message. */
const MOST_STEPS = 500_000;
/** And how long it may take, in milliseconds. */
const MOST_TIME = 5000;
/** Characters of a text, and items of a list with all that is in them, that any part of a rendering may give. */
const MOST_SIZE = 10_000_000;
/** Parts of a template within one another, macros that call macros among them. */
const MOST_DEPTH = 400;
/** Longest range, which is that of the sandbox that transformers renders in. */
const LONGEST_RANGE = 100_000;

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  ...["January", "February", "March", "April", "May", "June", "July"],
  ...["August", "September", "October", "November", "December"],
];

/** The local time in a format of Python's `strftime`, in English; what it does not know stays. */
export function formatTime(time: Date, format: string): string {
  const padded = (value: number, width = 2) => String(value).padStart(width, "0");
  const hour = time.getHours();
  const parts: Readonly<Record<string, string>> = {
    Y: String(time.getFullYear()),
    y: padded(time.getFullYear() % 100),
    m: padded(time.getMonth() + 1),
    B: MONTHS[time.getMonth()],
    b: MONTHS[time.getMonth()].slice(0, 3),
    d: padded(time.getDate()),
    A: DAYS[time.getDay()],
    a: DAYS[time.getDay()].slice(0, 3),
    H: padded(hour),
    I: padded(hour % 12 || 12),
    M: padded(time.getMinutes()),
    S: padded(time.getSeconds()),
    p: hour < 12 ? "AM" : "PM",
    "%": "%",
  };
  return format.replace(/%([A-Za-z%])/g, (whole, letter: string) => parts[letter] ?? whole);
}

/** What a template refuses by its own rules. */
class Raised extends Error {}
/** A bound that was reached, or what this engine does otherwise than the original. */
class Excess extends Error {}

function range(start: number, stop?: number, step = 1): number[] {
  const [first, end] = stop === undefined ? [0, start] : [start, stop];
  if (!step) throw new Error("range() takes a step other than 0");
  const length = Math.max(0, Math.ceil((end - first) / step));
  if (length > LONGEST_RANGE) {
    throw new Excess(`it takes a range of ${length}, more than the ${LONGEST_RANGE} allowed`);
  }
  return Array.from({ length }, (_, i) => first + i * step);
}

interface Node {
  readonly type: string;
}

/** `{% set a = b %}`, and of a namespace `{% set a.c = b %}`. */
interface SetStatement extends Node {
  readonly assignee?: Node | undefined;
}

interface Value extends Node {
  readonly value: unknown;
}

/**
 * Characters and items of values, with all that is in them: what a list takes that is written out. A list
 * in which one list stands many times over is small until then.
 */
class Sizes {
  private known = new WeakMap<Value, number>();

  of(whole: Value): number {
    const { value } = whole;
    if (typeof value === "string") return value.length;
    const held = Array.isArray(value) || value instanceof Map ? value.values() : undefined;
    if (!held) return 1;
    const known = this.known.get(whole);
    if (known !== undefined) return known;
    // One that holds itself counts once; writing it out fails soon.
    this.known.set(whole, 1);
    let size = 1;
    for (const one of held as Iterable<Value>) size += 1 + this.of(one);
    this.known.set(whole, size);
    return size;
  }

  /** Forgets all, as what a namespace holds has changed. */
  clear(): void {
    this.known = new WeakMap();
  }
}

/** Statements print nothing; an expression whose value is null prints None. */
const SILENT: readonly string[] = ["Set", "Macro", "Comment"];

/** What a node of a template adds to the text: constants as Python writes them. */
function printed(node: Node, result: Value, isStrict: boolean): string {
  const { type } = node;
  if (isStrict && result.type === "UndefinedValue" && !SILENT.includes(type)) {
    const { value } = node as Value;
    throw new Error(
      typeof value === "string" ? `there is no ${value}` : "it writes what is not there",
    );
  }
  if (result.type === "BooleanValue") return result.value ? "True" : "False";
  if (result.type === "NullValue") return SILENT.includes(type) ? "" : "None";
  return result.type === "UndefinedValue" ? "" : String(result);
}

/** What is used of the package's interpreter; a compiler that resolves as Node does finds no declarations. */
const Unbounded = Interpreter as new (
  environment: unknown,
) => {
  run(program: unknown): Value;
  /** Every node of a template comes through here, and every part of one. */
  evaluate(node: unknown, environment: unknown): Value;
  /** And here every turn of a loop, whatever stands in it. */
  evaluateBlock(nodes: readonly Node[], environment: unknown): Value;
};

/** An interpreter that gives up on what takes too long or grows too large. */
class Bounded extends Unbounded {
  private steps = 0;
  private depth = 0;
  private readonly end = performance.now() + MOST_TIME;
  private readonly sizes = new Sizes();

  constructor(
    environment: unknown,
    private readonly isStrict = false,
  ) {
    super(environment);
  }

  private count(): void {
    if (++this.steps > MOST_STEPS) throw new Excess(`it takes more than ${MOST_STEPS} steps`);
    if (performance.now() > this.end) {
      throw new Excess(`it takes more than ${MOST_TIME / 1000} seconds`);
    }
  }

  override evaluateBlock(nodes: readonly Node[], environment: unknown): Value {
    this.count();
    let value = "";
    for (const node of nodes) {
      try {
        value += printed(node, this.evaluate(node, environment), this.isStrict);
      } catch (error) {
        // The errors that carry a `break` or `continue` have no message; the package loses the text.
        if (value === "" || (error as Error).message !== "") throw error;
        throw new Excess(
          "it has a break or continue behind text in a loop, which is not supported",
        );
      }
    }
    // The package would print constants in its own way, so it is given the finished text.
    return super.evaluateBlock([{ type: "StringLiteral", value } as Node], environment);
  }

  override evaluate(node: unknown, environment: unknown): Value {
    this.count();
    if (++this.depth > MOST_DEPTH) {
      throw new Excess(`its parts stand more than ${MOST_DEPTH} deep in one another`);
    }
    let result: Value;
    try {
      result = super.evaluate(node, environment);
    } finally {
      this.depth--;
    }
    if ((node as SetStatement | undefined)?.assignee?.type === "MemberExpression")
      this.sizes.clear();
    if (this.sizes.of(result) > MOST_SIZE) {
      throw new Excess(`it makes a text or a list longer than ${MOST_SIZE}`);
    }
    return result;
  }
}

/** The names that transformers gives to every template. */
const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range,
  raise_exception(message: unknown) {
    throw new Raised(String(message));
  },
  strftime_now: (format: string) => formatTime(new Date(), format),
};

/** What messages call a template, and the cures that they name. */
export interface TemplateWords {
  /** Such as "its chat template". */
  readonly subject: string;
  /** What it is rendered with. */
  readonly given: string;
  readonly malformed: string;
  readonly refused: string;
  readonly stopped: string;
  readonly failed: string;
  /** A variable that is not given is refused where it is written, and not written as nothing. */
  readonly isStrict?: boolean | undefined;
}

const OF_CHATS: TemplateWords = {
  subject: "its chat template",
  given: "these messages",
  malformed: "fetch the file again",
  refused: "give messages that the model was trained on",
  stopped: "give shorter messages or another template",
  failed: "fetch the file again, or give a prompt in place of messages",
};

/**
 * Renders a template with variables.
 *
 * @param at what messages name in the place of the template's file
 */
export type Render = (variables: Readonly<Record<string, unknown>>, at?: string) => string;

/**
 * Reads a template, whose blocks take the white space before them and the line break behind.
 *
 * @param where the file that messages name
 * @returns a function that renders it, which throws PenjingError for what the template refuses, cannot do
 *   or takes too long for, and where it begins an answer with nothing
 * @throws PenjingError when it is no template
 */
export function compileTemplate(
  text: string,
  where: string,
  words: TemplateWords = OF_CHATS,
): Render {
  const program = read(text, where, words);
  return (variables, at = where) => {
    let made: string;
    try {
      const globals = new Environment();
      for (const [name, value] of Object.entries(GLOBALS)) globals.set(name, value);
      // In a scope of their own, in which they may have the name of anything.
      const environment = new Environment(globals);
      for (const [name, value] of Object.entries(variables)) {
        environment.variables.delete(name);
        environment.set(name, value);
      }
      made = String(new Bounded(environment, words.isStrict).run(program).value);
    } catch (error) {
      throw explain(at, error as Error, words);
    }
    if (made !== "" || !variables.add_generation_prompt) return made;
    throw new PenjingError(
      at,
      "its chat template writes nothing for these messages; fetch the file again, or give a prompt in place of messages.",
    );
  };
}

function read(text: string, where: string, { subject, malformed }: TemplateWords): unknown {
  try {
    return parse(tokenize(text, { lstrip_blocks: true, trim_blocks: true }));
  } catch (cause) {
    throw new PenjingError(
      where,
      `${subject} is not a Jinja template that can be read (${reasonOf(cause as Error)}); ${malformed}.`,
      { cause },
    );
  }
}

/** A reason without the stop behind it. */
function reasonOf(error: Error): string {
  return error.message.replace(/\.$/, "");
}

function explain(where: string, error: Error, words: TemplateWords): PenjingError {
  const { subject, given, refused, stopped, failed } = words;
  const cause = { cause: error };
  if (error instanceof Raised) {
    const said = quote(error.message);
    return new PenjingError(where, `${subject} refuses ${given}: ${said}; ${refused}.`, cause);
  }
  if (error instanceof Excess) {
    return new PenjingError(where, `${subject} was stopped: ${error.message}; ${stopped}.`, cause);
  }
  const reason = reasonOf(error);
  return new PenjingError(where, `${subject} fails on ${given} (${reason}); ${failed}.`, cause);
}
