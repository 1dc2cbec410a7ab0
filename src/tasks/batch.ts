/** Requests as they go through the model together. */
import type { Segment } from "../models/layers/segments.js";
import { type ChoiceRequest, sharedPrefix } from "./requests.js";

/** Requests of one item, which share the tokens that they begin with. */
export interface Group {
  readonly requests: readonly ChoiceRequest[];
  /** Tokens that go through the model for them. */
  readonly tokens: number;
  readonly shared: number;
}

/** A token that is scored. */
export interface Scored {
  /** The row of the batch's tokens that predicts it. */
  readonly row: number;
  readonly target: number;
  /** Which request of the batch it belongs to. */
  readonly request: number;
}

export interface Batch {
  readonly tokens: Int32Array;
  readonly segments: readonly Segment[];
  readonly scored: readonly Scored[];
  /** All requests, one group after another. */
  readonly requests: number;
}

function groupOf(requests: readonly ChoiceRequest[]): Group {
  const shared = sharedPrefix(requests);
  const own = requests.reduce((sum, { ids }) => sum + ids.length - 1 - shared, 0);
  return { requests, tokens: shared + own, shared };
}

/**
 * The requests of an item in as few groups as have no more tokens each than there may be. One that has more
 * by itself is a group alone.
 */
export function groupsOf(requests: readonly ChoiceRequest[], most: number): Group[] {
  const groups: Group[] = [];
  for (const request of requests) {
    const last = groups.pop();
    const joined = last && groupOf([...last.requests, request]);
    if (joined && joined.tokens <= most) groups.push(joined);
    else groups.push(...(last ? [last] : []), groupOf([request]));
  }
  return groups;
}

/** Lays groups out one after another. */
export function batchOf(groups: readonly Group[]): Batch {
  const tokens = new Int32Array(groups.reduce((sum, group) => sum + group.tokens, 0));
  const segments: Segment[] = [];
  const scored: Scored[] = [];
  let [next, request] = [0, 0];
  const add = (ids: Int32Array, position: number) => {
    const first = next;
    if (ids.length > 0) segments.push({ first, rows: ids.length, position });
    tokens.set(ids, first);
    next += ids.length;
    return first;
  };
  for (const { requests, shared } of groups) {
    const front = add(requests[0].ids.subarray(0, shared), 0);
    for (const { ids, first } of requests) {
      const own = add(ids.subarray(shared, -1), shared);
      for (let at = first; at < ids.length; at++) {
        const row = at - 1 < shared ? front + at - 1 : own + at - 1 - shared;
        scored.push({ row, target: ids[at], request });
      }
      request++;
    }
  }
  return { tokens, segments, scored, requests: request };
}
