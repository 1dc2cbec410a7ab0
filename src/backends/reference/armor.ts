import type { Operations } from "../../backend.js";
import { pause } from "../../run.js";
import { colsOf, f32, type HostTensor, rowsOf, type Tensor, u8 } from "../../tensor.js";
import type { ArmorState } from "../operations/armor.js";
import { type ArmorFactors, ArmorProblem } from "./armor-problem.js";

interface ReferenceState extends ArmorState {
  readonly problem: ArmorProblem;
  best: ArmorFactors & { readonly proxy: number };
}

function snapshot({ left, right, core, mask, proxy }: ArmorProblem): ReferenceState["best"] {
  return {
    left: left.slice(),
    right: right.slice(),
    core: core.slice(),
    mask: mask.slice(),
    proxy,
  };
}

export const armorOpen: Operations["armorOpen"] = async (target, importance, mask, options) => {
  const shape = { rows: rowsOf(target), cols: colsOf(target), ...options };
  const [weights, h] = [Float64Array.from(f32(target)), Float64Array.from(f32(importance))];
  const problem = new ArmorProblem(weights, h, u8(mask), shape);
  const state: ReferenceState = {
    pairs: problem.pairs,
    startProxy: problem.proxy,
    problem,
    best: snapshot(problem),
    dispose() {},
  };
  return state;
};

export const armorAdvance: Operations["armorAdvance"] = async (given, choices, options) => {
  const state = given as ReferenceState;
  const { problem, pairs } = state;
  const data = (choices as HostTensor).data.slice();
  const proxies = new Float64Array(rowsOf(choices));
  for (let step = 0; step < proxies.length; step++) {
    await pause(options.signal);
    problem.descend(options.learningRate);
    await pause(options.signal);
    problem.refine((pair) => {
      const choice = data[step * pairs + pair];
      return choices.dtype === "i32" ? choice : drawGroup(problem.groupNorms(pair), choice);
    });
    proxies[step] = problem.proxy;
    if (problem.proxy < state.best.proxy) state.best = snapshot(problem);
  }
  return proxies;
};

/** The group that a number in [0, 1) draws, by the shares of `norms`; -1 when all are 0. */
function drawGroup(norms: Float64Array, choice: number): number {
  const wanted = choice * norms.reduce((sum, norm) => sum + norm, 0);
  let [sum, drawn] = [0, -1];
  for (let group = 0; group < norms.length; group++) {
    if (norms[group] === 0) continue;
    drawn = group;
    sum += norms[group];
    if (sum > wanted) break;
  }
  return drawn;
}

export const armorRead: Operations["armorRead"] = (given, out) => {
  const { best } = given as ReferenceState;
  const write = (tensor: Tensor, values: Float64Array) => f32(tensor).set(values);
  write(out.core, best.core);
  write(out.left, best.left);
  write(out.right, best.right);
  u8(out.mask).set(best.mask);
};

export const armorSave: Operations["armorSave"] = async (given) => {
  const { problem, best } = given as ReferenceState;
  const parts = [...problem.variables(), best.left, best.right, best.core, best.mask, [best.proxy]];
  return new Uint8Array(Float64Array.from(parts.flatMap((part) => [...part])).buffer);
};

export const armorLoad: Operations["armorLoad"] = (given, saved) => {
  const state = given as ReferenceState;
  const { problem } = state;
  const values = new Float64Array(saved.slice().buffer);
  let at = 0;
  const next = (count: number) => {
    at += count;
    return values.subarray(at - count, at);
  };
  for (const part of problem.variables()) part.set(next(part.length));
  problem.measure();
  const { left, right, core, mask } = problem;
  state.best = {
    left: next(left.length).slice(),
    right: next(right.length).slice(),
    core: next(core.length).slice(),
    mask: Uint8Array.from(next(mask.length)),
    proxy: next(1)[0],
  };
};
