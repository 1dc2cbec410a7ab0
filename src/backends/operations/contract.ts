import type { HostTensor, Tensor } from "../../tensor.js";

type AnyOperation = (...args: never[]) => unknown;

/** What holds for an operation on every backend, beside what it computes. */
export interface Contract<Operation extends AnyOperation> {
  /** @throws PenjingError for the first argument that does not fit the others */
  readonly check?: ((...args: Parameters<Operation>) => void) | undefined;
  /**
   * For an operation that does the same to every row: the places of the tensors among its arguments
   * that are cut together. The first says how many rows there are.
   */
  readonly rows?: readonly number[] | undefined;
  /** The same for an operation that does the same to every element. */
  readonly elements?: readonly number[] | undefined;
  /**
   * The result, from what parts of the rows or elements resolved to.
   *
   * @param starts the first row or element of each part
   * @default their sum
   */
  readonly join?: (
    results: readonly number[],
    starts: readonly number[],
    ...args: Parameters<Operation>
  ) => number;
  /** Multiply-adds for one row. */
  readonly rowWork?: ((...args: Parameters<Operation>) => number) | undefined;
  /** Fewer rows at a time do not pay. @default 48 */
  readonly leastRows?: number | undefined;
}

/** The contracts of a set of operations. */
export type Contracts<Operations> = {
  readonly [Name in keyof Operations]: Operations[Name] extends AnyOperation
    ? Contract<Operations[Name]>
    : never;
};

/** Tensors as JavaScript sees them. */
type OnHost<Args extends readonly unknown[]> = {
  [Index in keyof Args]: Args[Index] extends Tensor ? HostTensor : Args[Index];
};

/**
 * An operation that a plug-in brings. It is computed in JavaScript for every backend: where tensors
 * live elsewhere, they are copied to the host before it and those that it writes are copied back.
 *
 * @typeParam Args its arguments; tensors are not in objects or lists
 */
export interface HostOperation<
  // biome-ignore lint/suspicious/noExplicitAny: a registry holds operations of different arguments
  Args extends readonly unknown[] = any,
  Result = unknown,
> {
  readonly name: string;
  /** One line for the docs. */
  readonly summary: string;
  /** Places of the tensors that it writes among its arguments, from 0 on. */
  readonly writes: readonly number[];
  /** @throws PenjingError for the first argument that does not fit the others */
  check?(...args: Args): void;
  run(...args: OnHost<Args>): Result;
}

/** The arguments of a plug-in's operation. */
export type ArgumentsOf<Operation> =
  Operation extends HostOperation<infer Args extends readonly unknown[]> ? Args : never;

/** Work that may take long. */
export interface Cancellable {
  /** Stops the work within 100 ms or so; what it was writing is left half done then. */
  readonly signal?: AbortSignal | undefined;
}
