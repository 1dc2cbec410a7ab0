import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { attentionOf, streamWidth } from "../model.js";
import type {
  Concentration,
  HeadShape,
  Measured,
  RotationOptions,
  RotationOutcome,
  RotationProblem,
  RotationSource,
} from "../rotation.js";
import { pause, timeSpent } from "../run.js";
import type { Tensor } from "../tensor.js";
import { BlockObjective } from "./objective.js";
import { checkBlockSize, type ResolvedRotation, resolveRotation } from "./options.js";
import { orthonormalise } from "./orthonormalise.js";
import type { OrthogonalParameter } from "./parameter.js";
import { WAYS } from "./ways.js";

/** The gradient's norm is clipped to this, as published. */
const CLIP = 1;
/** Steps in a row above the first loss after which the search begins anew with shorter ones. */
const PATIENCE = 10;
/** How often it does before it is given up. */
const MOST_HALVINGS = 4;

/** Of a block-diagonal [n, n]: u8, 1 where both indices are in one stretch of `size`. */
function blockMask(n: number, size: number): Uint8Array {
  return Uint8Array.from({ length: n * n }, (_, i) =>
    Math.floor(i / n / size) === Math.floor((i % n) / size) ? 1 : 0,
  );
}

/** One block's part of the search. */
interface Member {
  readonly heads: HeadShape;
  readonly r2: Tensor;
  readonly bestR2: Tensor;
  readonly gradient: Tensor;
  /** One for each key-value head. */
  readonly parameters: readonly OrthogonalParameter[];
  /** Gives the block's objective; `release` it after each use. */
  readonly acquire: () => Promise<BlockObjective>;
  readonly release: (objective: BlockObjective) => void;
}

/** Q, where the residual stream turns. */
interface Stream {
  readonly q: Tensor;
  readonly bestQ: Tensor;
  readonly gradient: Tensor;
  readonly parameter: OrthogonalParameter;
  /** Of what mixes; undefined where all does. */
  readonly mask: Tensor | undefined;
}

/** The state of one search: one Q, unless heads alone are turned, and every block's R2. */
class Search {
  private readonly owned: { dispose(): void }[] = [];
  private readonly members: Member[] = [];
  private readonly notes = new Set<string>();
  private readonly curve: number[] = [];
  private bestStep = 0;
  private learningRate = 0;
  /** Steps that were done when the search last began at the identity. */
  private begun = 0;
  private halvings = 0;
  private hidden = 0;
  private stream: Stream | undefined;
  /** What the last loss was made of, the first, and the smallest; by block. */
  private latest: (readonly Measured[])[] = [];
  private first: typeof this.latest = [];
  private best: typeof this.latest = [];

  constructor(
    private readonly backend: Backend,
    private readonly options: ResolvedRotation,
  ) {}

  private own<T extends { dispose(): void }>(made: T): T {
    this.owned.push(made);
    return made;
  }

  async open(sources: readonly (RotationProblem | RotationSource)[]): Promise<void> {
    for (const source of sources) await this.addMember(source);
  }

  private async addMember(source: RotationProblem | RotationSource): Promise<void> {
    const { backend, options } = this;
    let acquire: Member["acquire"];
    let release: Member["release"] = () => {};
    let problem: RotationProblem;
    if ("open" in source) {
      problem = await source.open();
      acquire = async () => {
        const opened = await source.open();
        try {
          return await BlockObjective.open(backend, opened, options);
        } finally {
          source.close(opened);
        }
      };
      release = (objective) => objective.dispose();
    } else {
      problem = source;
      const objective = this.own(await BlockObjective.open(backend, problem, options));
      acquire = async () => objective;
    }
    const { block, name } = problem;
    const heads = attentionOf(block);
    const hidden = streamWidth(block);
    if ("open" in source) source.close(problem);
    if (this.members.length === 0) this.begin(hidden, heads);
    else if (hidden !== this.hidden) {
      throw new PenjingError(
        name,
        `its residual stream has ${hidden} columns, but that of the first block ${this.hidden}; only blocks of one width can share a rotation.`,
      );
    }
    const make = () => this.own(backend.zeros([heads.kvHeads * heads.headDim, heads.headDim]));
    const [r2, bestR2, gradient] = [make(), make(), make()];
    const parameters = Array.from({ length: heads.kvHeads }, (_, h) =>
      this.own(this.way.create(backend, square(backend, r2, heads, h), this.options.signal)),
    );
    this.members.push({ heads, r2, bestR2, gradient, parameters, acquire, release });
  }

  private get way() {
    return WAYS[this.options.parametrisation];
  }

  private begin(hidden: number, { headDim }: HeadShape): void {
    const { backend, options } = this;
    const { headsOnly, blockSize = hidden, loss } = options;
    this.hidden = hidden;
    const mixed = headsOnly ? headDim : blockSize;
    this.learningRate = options.learningRate ?? this.way.learningRate(mixed, loss);
    if (headsOnly) return;
    checkBlockSize(blockSize, hidden);
    const shape = [hidden, hidden];
    const make = () => this.own(backend.zeros(shape));
    const [q, bestQ, gradient] = [make(), make(), make()];
    const parameter = this.own(this.way.create(backend, q, options.signal));
    const isWhole = blockSize === hidden;
    const mask = isWhole
      ? undefined
      : this.own(backend.upload(blockMask(hidden, blockSize), shape));
    this.stream = { q, bestQ, gradient, parameter, mask };
  }

  /** The loss over all blocks; fills every gradient. */
  private async evaluate(): Promise<number> {
    let loss = 0;
    this.latest = [];
    for (const [i, { r2, gradient, acquire, release }] of this.members.entries()) {
      await pause(this.options.signal);
      const objective = await acquire();
      for (const note of objective.notes) this.notes.add(note);
      const turns = { q: this.stream?.q, r2 };
      const gradients = { q: this.stream?.gradient, r2: gradient };
      loss += await objective.loss(turns, gradients, i > 0, this.options.signal);
      this.latest.push(objective.measured);
      release(objective);
    }
    return loss;
  }

  /** Moves Q and every R2; false, with a note, when there is no way to go. */
  private async step(number: number, done: number): Promise<boolean> {
    const { backend, stream } = this;
    if (stream?.mask) backend.ops.applyMask(stream.gradient, stream.mask);
    const moves: Pick<Stream, "parameter" | "gradient">[] = stream ? [stream] : [];
    for (const member of this.members) {
      for (const [h, parameter] of member.parameters.entries()) {
        moves.push({ parameter, gradient: square(backend, member.gradient, member.heads, h) });
      }
    }
    let squares = 0;
    for (const move of moves) squares += await move.parameter.receive(move.gradient);
    if (squares === 0) {
      this.notes.add(`the gradient is zero after ${number - 1} steps: nothing is left to rotate`);
      return false;
    }
    const scale = Math.min(1, CLIP / Math.sqrt(squares));
    const own = number - this.begun;
    const rate = (this.learningRate / 2 ** this.halvings) * this.way.schedule(own, done);
    let sound = Number.isFinite(squares);
    for (const { parameter } of moves) {
      sound = sound && (await parameter.update(rate, own, scale));
    }
    if (!sound) {
      this.notes.add(
        `step ${number} cannot be taken; the rotation of step ${this.bestStep} is kept. A lower learning rate may go on`,
      );
    }
    return sound;
  }

  private keep(): void {
    const { stream } = this;
    if (stream) this.backend.copy(stream.q, stream.bestQ);
    for (const { r2, bestR2 } of this.members) this.backend.copy(r2, bestR2);
    this.bestStep = this.curve.length - 1;
    this.best = this.latest;
  }

  /** Whether the latest losses are all above the first. */
  private isLost(): boolean {
    const { curve, begun } = this;
    const latest = curve.slice(begun).slice(-PATIENCE);
    return latest.length === PATIENCE && latest.every((loss) => loss > curve[0]);
  }

  /** Says why the search ends early. */
  private giveUp(reason: string): void {
    this.notes.add(
      `${reason}; the rotation of step ${this.bestStep} is kept. A lower learning rate may help`,
    );
  }

  /** Goes back to the identity, in place of a step, to go on from there with steps half as long. */
  private beginAnew(step: number): void {
    this.begun = step;
    this.halvings++;
    this.stream?.parameter.reset();
    for (const { parameters } of this.members) for (const own of parameters) own.reset();
  }

  async run(): Promise<void> {
    const { curve } = this;
    const { steps, seconds, onProgress } = this.options;
    const started = performance.now();
    for (let step = await this.resume(); ; step++) {
      const loss = await this.evaluate();
      curve.push(loss);
      if (step === 0) this.first = this.latest;
      if (step === 0 || loss < curve[this.bestStep]) this.keep();
      const spent = (performance.now() - started) / 1000 / seconds;
      const done = steps === 0 ? 1 : Math.max(step / steps, spent);
      onProgress?.(Math.min(1, done), loss);
      if (!Number.isFinite(loss)) return this.giveUp(`the loss is ${loss} after ${step} steps`);
      const isLost = this.isLost();
      if (isLost && (step === steps || this.halvings === MOST_HALVINGS)) {
        return this.giveUp(`the loss grew beyond its start for ${PATIENCE} steps`);
      }
      if (step === steps) return;
      if (done >= 1) {
        this.notes.add(timeSpent(seconds, step, steps, "steps"));
        return;
      }
      if (isLost) this.beginAnew(step + 1);
      else if (!(await this.step(step + 1, done))) return;
      await this.remember(step + 1);
    }
  }

  /** Every tensor that the rest of the search depends on, by name. */
  private state(): Map<string, Tensor> {
    const { stream } = this;
    const tensors = new Map<string, Tensor>();
    const add = (name: string, { state }: OrthogonalParameter) => {
      for (const [i, tensor] of state.entries()) tensors.set(`${name}.${i}`, tensor);
    };
    if (stream) {
      tensors.set("q", stream.q).set("bestQ", stream.bestQ);
      add("parameter", stream.parameter);
    }
    for (const [m, { r2, bestR2, parameters }] of this.members.entries()) {
      tensors.set(`${m}.r2`, r2).set(`${m}.bestR2`, bestR2);
      for (const [h, parameter] of parameters.entries()) add(`${m}.parameter.${h}`, parameter);
    }
    return tensors;
  }

  /** Keeps the state before a step's loss is measured, when it is time to. */
  private async remember(step: number): Promise<void> {
    const { keeper } = this.options;
    if (!keeper?.isDue()) return;
    const arrays = new Map<string, Float32Array>();
    for (const [name, tensor] of this.state()) {
      arrays.set(name, (await this.backend.read(tensor)) as Float32Array);
    }
    const { curve, bestStep, begun, halvings, first, best } = this;
    await keeper.save({ facts: { step, curve, bestStep, begun, halvings, first, best }, arrays });
  }

  /** Takes up a state that was kept; the step to go on with. */
  private async resume(): Promise<number> {
    const kept = await this.options.keeper?.load();
    if (!kept) return 0;
    for (const [name, tensor] of this.state()) {
      this.backend.write(tensor, kept.arrays.get(name) as Float32Array);
    }
    const { step, curve, ...rest } = kept.facts as {
      step: number;
      curve: number[];
      bestStep: number;
      begun: number;
      halvings: number;
      first: (readonly Measured[])[];
      best: (readonly Measured[])[];
    };
    this.curve.push(...curve);
    Object.assign(this, rest);
    return step;
  }

  async outcome(): Promise<RotationOutcome> {
    const { backend, curve, bestStep, members, hidden, stream } = this;
    const { signal } = this.options;
    let qData: Float32Array | undefined;
    if (stream) {
      qData = (await backend.read(stream.bestQ)) as Float32Array;
      await orthonormalise(qData, hidden, signal);
    }
    const r2Data: Float32Array[] = [];
    for (const { bestR2, heads } of members) {
      const data = (await backend.read(bestR2)) as Float32Array;
      const size = heads.headDim ** 2;
      for (let h = 0; h < heads.kvHeads; h++) {
        await orthonormalise(data.subarray(h * size, (h + 1) * size), heads.headDim, signal);
      }
      r2Data.push(data);
    }
    return {
      q: qData && backend.upload(qData, [hidden, hidden]),
      r2: members.map(({ r2 }, i) => backend.upload(r2Data[i], r2.shape)),
      curve,
      loss: curve[bestStep],
      bestStep,
      concentrations: this.concentrations(),
      notes: [...this.notes],
    };
  }

  private concentrations(): Concentration[] {
    return this.first.flatMap((parts, block) =>
      parts.map(({ value: before, ...part }, i) => {
        return { block, ...part, before, after: this.best[block][i].value };
      }),
    );
  }

  dispose(): void {
    for (const made of this.owned) made.dispose();
  }
}

/** The [headDim, headDim] of one key-value head within heads stacked one under the other. */
function square(backend: Backend, stacked: Tensor, { headDim }: HeadShape, head: number): Tensor {
  return backend.rows(stacked, head * headDim, headDim);
}

/**
 * Searches the rotation that concentrates the importance of the blocks' weights: one Q for all of
 * them, unless heads alone are turned, and an R2 for each key-value head of each. Starts from the identity and keeps the best
 * iterate; starts there anew with half the learning rate while the loss stays above its start, and
 * stops early, and says so, when that does not help or the gradient vanishes. Without
 * `seconds`, equal input gives equal output.
 *
 * @throws PenjingError for options out of range, blocks that cannot be rotated or share no width,
 *   and statistics that the objective needs and does not find
 */
export async function optimiseRotation(
  backend: Backend,
  blocks: readonly (RotationProblem | RotationSource)[],
  options: RotationOptions = {},
): Promise<RotationOutcome> {
  const search = new Search(backend, resolveRotation(options));
  if (blocks.length === 0) {
    throw new PenjingError("rotation", "there is no block to rotate; give at least one.");
  }
  try {
    await search.open(blocks);
    await search.run();
    return await search.outcome();
  } finally {
    search.dispose();
  }
}
