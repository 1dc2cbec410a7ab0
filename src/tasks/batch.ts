/** Requests as they go through the model together. */
import type { Segment } from "../models/layers/segments.js";
import type { ChoiceRequest } from "./requests.js";

/** A token that is scored. */
export interface Scored {
  /** The row of the batch's tokens that predicts it. */
  readonly row: number;
  readonly target: number;
  /** Which request of the batch it belongs to. */
  readonly request: number;
}

export interface Batch<Request extends ChoiceRequest = ChoiceRequest> {
  readonly requests: readonly Request[];
  readonly tokens: Int32Array;
  /** One for each request that has tokens which the one before has not. */
  readonly segments: readonly Segment[];
  readonly scored: readonly Scored[];
}

/** Tokens that a request puts in: its last one predicts nothing that is asked for. */
export function tokensOf({ ids }: ChoiceRequest): number {
  return ids.length - 1;
}

/** Tokens that two requests put in and begin with. */
export function sharedTokens(one: ChoiceRequest, other: ChoiceRequest): number {
  const most = Math.min(tokensOf(one), tokensOf(other));
  let length = 0;
  while (length < most && one.ids[length] === other.ids[length]) length++;
  return length;
}

/** By their tokens as words stand in a dictionary, so that what begins alike stands together. */
function inOrder({ ids: one }: ChoiceRequest, { ids: other }: ChoiceRequest): number {
  const at = one.findIndex((id, i) => id !== other[i]);
  return at < 0 ? one.length - other.length : one[at] - (other[at] ?? -1);
}

/**
 * All requests in batches, in an order in which each shares as many tokens as it can with the one before; a
 * batch begins where little is shared.
 *
 * @param most tokens that a batch may have; a longer request is one by itself
 */
export function batchesOf<Request extends ChoiceRequest>(
  requests: readonly Request[],
  most: number,
): Batch<Request>[] {
  const sorted = [...requests].sort(inOrder);
  const shared = sorted.map((one, i) => (i === 0 ? 0 : sharedTokens(sorted[i - 1], one)));
  const batches: Batch<Request>[] = [];
  for (let start = 0; start < sorted.length; ) {
    const end = endOf(sorted, shared, start, most);
    batches.push(batchOf(sorted.slice(start, end), [0, ...shared.slice(start + 1, end)]));
    start = end;
  }
  return batches;
}

/** Where the batch that begins at a request ends: where least is shared, from half of its tokens on. */
function endOf(
  requests: readonly ChoiceRequest[],
  shared: readonly number[],
  start: number,
  most: number,
): number {
  let tokens = tokensOf(requests[start]);
  let best: number | undefined;
  for (let end = start + 1; end < requests.length; end++) {
    if (tokens >= most / 2 && (best === undefined || shared[end] <= shared[best])) best = end;
    tokens += tokensOf(requests[end]) - shared[end];
    if (tokens > most) return best ?? end;
  }
  return requests.length;
}

/** @param shared tokens of each request that the one before begins with too */
function batchOf<Request extends ChoiceRequest>(
  requests: readonly Request[],
  shared: readonly number[],
): Batch<Request> {
  const tokens: number[] = [];
  const segments: Segment[] = [];
  const scored: Scored[] = [];
  /** The row of each position of the request at hand. */
  const path: number[] = [];
  for (const [request, { ids, first }] of requests.entries()) {
    const position = shared[request];
    path.length = position;
    const own = ids.subarray(position, -1);
    if (own.length > 0) segments.push({ first: tokens.length, rows: own.length, position });
    for (const id of own) {
      path.push(tokens.length);
      tokens.push(id);
    }
    for (let at = first; at < ids.length; at++) {
      scored.push({ row: path[at - 1], target: ids[at], request });
    }
  }
  return { requests, tokens: Int32Array.from(tokens), segments, scored };
}
