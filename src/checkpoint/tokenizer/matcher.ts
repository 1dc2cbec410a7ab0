import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { type CharacterSet, union } from "./characters.js";
import { type Node, PatternFault, parsePattern } from "./pattern.js";

/** The end of a match that begins at `at`, or -1. */
type Step = (at: number) => number;

/** Steps that a search may take beside those below. */
const FREE_STEPS = 10_000;
/** Steps for each character up to the search's start: patterns of real tokenizers take below 10. */
const STEPS_PER_CHARACTER = 64;
/** Steps for each character of the text, so that one long run can be looked at by every choice. */
const STEPS_AHEAD = 16;

/** One of a pattern's choices, with the characters that it can begin with. */
interface Choice {
  readonly step: Step;
  /** undefined when it may match nothing, or looks around first. */
  readonly first: CharacterSet | undefined;
}

/**
 * A pattern that finds its matches in a text as Oniguruma does: the leftmost, by the first choice
 * that matches. Steps are counted, and a pattern that takes far more than the text's length is
 * refused. So no file can make the work endless, without the worker that a built-in RegExp would
 * need to be stopped.
 */
export class Pattern {
  readonly #choices: readonly Choice[];
  #text = "";
  #limit = 0;
  /** Steps taken since `open`. */
  steps = 0;
  /** Of the match that `find` found. */
  start = 0;
  end = 0;

  /**
   * @param where the file, for messages
   * @param source the pattern
   * @throws PenjingError for a pattern of another syntax
   */
  constructor(
    private readonly where: string,
    private readonly source: string,
  ) {
    try {
      const node = parsePattern(source);
      const nodes = node.kind === "choice" ? node.nodes : [node];
      this.#choices = nodes.map((choice) => ({
        step: this.#compile(choice, (at) => at),
        first: firstOf(choice),
      }));
    } catch (error) {
      if (!(error instanceof PatternFault)) throw error;
      throw new PenjingError(
        where,
        `its pattern ${quote(source)} uses ${error.message}, which is not supported here; use a model whose tokenizer does without.`,
      );
    }
  }

  /**
   * Sets the text that is searched.
   *
   * @param steps those that searches of this text took before
   */
  open(text: string, steps: number): void {
    this.#text = text;
    this.steps = steps;
  }

  /**
   * Finds the first match that begins at `from` or later.
   *
   * @throws PenjingError when the pattern takes too long
   */
  find(from: number): boolean {
    const length = this.#text.length;
    for (let at = from; at <= length; at++) {
      this.#limit = FREE_STEPS + STEPS_PER_CHARACTER * at + STEPS_AHEAD * length;
      const code = this.#codeAt(at);
      for (const { step, first } of this.#choices) {
        if (first !== undefined && (code < 0 || !first.has(code))) continue;
        const end = step(at);
        if (end < 0) continue;
        this.start = at;
        this.end = end;
        return true;
      }
      if (code > 0xffff) at++;
    }
    return false;
  }

  /** The code point at a place, or -1 at the end. */
  #codeAt(at: number): number {
    if (at >= this.#text.length) return -1;
    const code = this.#text.charCodeAt(at);
    return (code & 0xfc00) === 0xd800 ? (this.#text.codePointAt(at) as number) : code;
  }

  #spend(steps: number): void {
    this.steps += steps;
    if (this.steps <= this.#limit) return;
    throw new PenjingError(
      this.where,
      `its pattern ${quote(this.source)} takes more than ${STEPS_PER_CHARACTER} steps for each character of this text, which real ones do not; use the tokenizer of another model.`,
    );
  }

  /** What matches a node and then goes on with `next`. */
  #compile(node: Node, next: Step): Step {
    switch (node.kind) {
      case "set": {
        const { set } = node;
        return (at) => {
          const code = this.#codeAt(at);
          return code >= 0 && set.has(code) ? next(code > 0xffff ? at + 2 : at + 1) : -1;
        };
      }
      case "sequence":
        return node.nodes.reduceRight((then, one) => this.#compile(one, then), next);
      case "choice": {
        const steps = node.nodes.map((one) => this.#compile(one, next));
        return (at) => {
          this.#spend(1);
          for (const step of steps) {
            const end = step(at);
            if (end >= 0) return end;
          }
          return -1;
        };
      }
      case "atomic": {
        const inner = this.#compile(node.node, (at) => at);
        return (at) => {
          const end = inner(at);
          return end < 0 ? -1 : next(end);
        };
      }
      case "look": {
        const inner = this.#compile(node.node, (at) => at);
        return (at) => {
          const from = node.behind ? this.#before(at) : at;
          return (from >= 0 && inner(from) >= 0) === node.not ? -1 : next(at);
        };
      }
      case "edge":
        return (at) => (this.#isEdge(node.edge, at) ? next(at) : -1);
      case "repeat":
        if (node.node.kind === "set") return this.#compileRun(node.node.set, node, next);
        return this.#compileGroups(node.node, node, next);
    }
  }

  /** The place of the character before, or -1 at the start. */
  #before(at: number): number {
    return at > 1 && (this.#text.charCodeAt(at - 1) & 0xfc00) === 0xdc00 ? at - 2 : at - 1;
  }

  #isEdge(edge: string, at: number): boolean {
    if (edge.endsWith("start")) {
      return at === 0 || (edge === "line-start" && this.#text[at - 1] === "\n");
    }
    return at === this.#text.length || (edge === "line-end" && this.#text[at] === "\n");
  }

  /** A repetition of one character of a set, without a step on the stack for each. */
  #compileRun(set: CharacterSet, { min, max, greed }: Node & { kind: "repeat" }, next: Step): Step {
    const most = greed === "lazy" ? min : max;
    return (at) => {
      let end = at;
      let count = 0;
      const grow = (limit: number): void => {
        while (count < limit) {
          const code = this.#codeAt(end);
          if (code < 0 || !set.has(code)) return;
          end += code > 0xffff ? 2 : 1;
          count++;
        }
      };
      grow(most);
      this.#spend(count);
      if (count < min) return -1;
      if (greed === "possessive") return next(end);
      for (;;) {
        const found = next(end);
        if (found >= 0) return found;
        this.#spend(1);
        if (greed === "lazy") {
          const before = count;
          grow(Math.min(max, count + 1));
          if (count === before) return -1;
        } else {
          if (count === min) return -1;
          end = this.#before(end);
          count--;
        }
      }
    };
  }

  /** A repetition of a group, written out. */
  #compileGroups(group: Node, { min, max, greed }: Node & { kind: "repeat" }, next: Step): Step {
    if (greed === "possessive") {
      const greedy: Node = { kind: "repeat", node: group, min, max, greed: "greedy" };
      return this.#compile({ kind: "atomic", node: greedy }, next);
    }
    let step = next;
    for (let i = max; i > 0; i--) {
      const then = step;
      const once = this.#compile(group, then);
      if (i <= min) {
        step = once;
        continue;
      }
      const [first, second] = greed === "lazy" ? [next, once] : [once, next];
      step = (at) => {
        this.#spend(1);
        const end = first(at);
        return end >= 0 ? end : second(at);
      };
    }
    return step;
  }
}

/** The characters that a node can begin with; undefined when it may match nothing. */
function firstOf(node: Node): CharacterSet | undefined {
  switch (node.kind) {
    case "set":
      return node.set;
    case "atomic":
      return firstOf(node.node);
    case "repeat":
      return node.min > 0 ? firstOf(node.node) : undefined;
    case "choice": {
      const sets = node.nodes.map(firstOf);
      return sets.includes(undefined) ? undefined : union(sets as CharacterSet[]);
    }
    case "sequence": {
      // Parts that may match nothing come before the first one that may not.
      const sets: CharacterSet[] = [];
      for (const one of node.nodes) {
        const first = firstOf(one);
        if (first) return union([...sets, first]);
        if (one.kind !== "repeat" || one.min > 0) return undefined;
        const inner = firstOf(one.node);
        if (!inner) return undefined;
        sets.push(inner);
      }
      return undefined;
    }
    default:
      return undefined;
  }
}
