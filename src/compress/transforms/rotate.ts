import { PenjingError } from "../../errors.js";
import type { OptionSpecs, OptionsOf } from "../../options.js";
import { checkBlockSize, checkHeadsOnly } from "../../rotation/options.js";
import { type BlockGroup, rotationGroups, SCOPE } from "../../rotation/scope.js";
import {
  DEFAULT_PATTERN,
  ROTATION_OBJECTIVES,
  type RotationObjective,
  type RotationPattern,
  SEARCH_OPTIONS,
} from "../../rotation.js";
import type { Sparsity } from "../../sparsity.js";
import { rotationRefusal } from "../rotate.js";
import { Rotator } from "../rotator.js";
import type {
  Phase,
  PlanTarget,
  Reader,
  ReadStep,
  RotationAim,
  RunTools,
  Transform,
  TransformKind,
  TransformRun,
} from "../transform.js";

export const ROTATE_OPTIONS = {
  scope: SCOPE,
  steps: SEARCH_OPTIONS.steps,
  learningRate: SEARCH_OPTIONS.learningRate,
  objective: {
    kind: "choice",
    values: ROTATION_OBJECTIVES,
    otherwise: "the one that suits the method pruned with",
    description: SEARCH_OPTIONS.objective.description,
  },
  loss: SEARCH_OPTIONS.loss,
  scoreDamping: SEARCH_OPTIONS.scoreDamping,
  blockSize: SEARCH_OPTIONS.blockSize,
} as const satisfies OptionSpecs;

export type RotateOptions = OptionsOf<typeof ROTATE_OPTIONS>;

/** Turns the blocks so that importance concentrates in few weights (DenoiseRotator). */
export const rotate = {
  name: "rotate",
  summary: "turn the blocks first, so that importance concentrates in few weights (DenoiseRotator)",
  scope: "model",
  options: ROTATE_OPTIONS,
  leaves: "turn",
  cannotFollow: {
    zeros: "a turn mixes weights and fills the zeros; put rotate before it",
    codes: "a turn mixes weights and leaves no grid; put rotate before it",
    turn: "a model is rotated once, for as many steps as it takes; leave one of the two out",
  },
  check({ scope, blockSize }: ReadStep["options"], where: string) {
    checkHeadsOnly(scope === "heads", blockSize as number | undefined, where);
  },
  plan: ([step], target): Transform =>
    new Rotation(step.options as unknown as RotateOptions, target),
} satisfies TransformKind;

/** Consecutive inputs among which an unstructured share is counted. */
const SHARE_OF = 8;

/** The pattern that stands for a sparsity: of an unstructured share the nearest one of 8. */
export function patternOf(sparsity: Sparsity): RotationPattern {
  if (sparsity.kind === "n:m") return { n: sparsity.n, m: sparsity.m };
  const m = SHARE_OF;
  if (sparsity.ratio === 0) return { n: m, m };
  return { n: Math.min(m - 1, Math.max(1, Math.round(m * (1 - sparsity.ratio)))), m };
}

/** The options of a search, with what follows from the scope and the step after it. */
export type Search = Omit<RotateOptions, "scope" | "objective"> & {
  readonly headsOnly: boolean;
  readonly objective: RotationObjective;
  readonly pattern: RotationPattern;
};

/**
 * What is searched for.
 *
 * @param later steps after the rotation
 */
export function planSearch(
  { scope, ...options }: RotateOptions,
  later: readonly ReadStep[],
): Search {
  const aims = later.map(({ kind, options: own }) => kind.rotationAim?.(own));
  const aim: RotationAim | undefined = aims.find((one) => one !== undefined);
  const pattern = aim ? patternOf(aim.sparsity) : DEFAULT_PATTERN;
  const loss = pattern.n === pattern.m ? "entropy" : options.loss;
  const objective = options.objective ?? aim?.importance(loss) ?? "magnitude";
  return { ...options, headsOnly: scope === "heads", objective, loss, pattern };
}

/** What the search weighs in progress for each block, where a pass over the windows weighs 7. */
const SEARCH_WEIGHT = 30;

class Rotation implements Transform {
  readonly layers = new Map<string, never>();
  readonly turnsWeights = true;
  readonly changesOuter: boolean;
  private readonly groups: readonly BlockGroup[];
  private readonly search: Search;

  /**
   * @throws PenjingError for a model that cannot be rotated, when its blocks do not divide the residual
   *   stream, or it has more groups than the model has blocks
   */
  constructor(options: RotateOptions, { spec, later }: PlanTarget) {
    const { scope, blockSize } = options;
    this.search = planSearch(options, later);
    const { headsOnly } = this.search;
    const refusal = rotationRefusal(spec, headsOnly);
    if (refusal) {
      const cure = rotationRefusal(spec, true)
        ? "leave the rotation out"
        : "turn attention's values alone (scope heads), or leave the rotation out";
      throw new PenjingError(
        rotate.name,
        `a model of the family ${spec.family} cannot be rotated: ${refusal}; ${cure}.`,
      );
    }
    this.groups = rotationGroups(scope, spec.blocks.length);
    checkBlockSize(blockSize ?? spec.hiddenSize, spec.hiddenSize);
    this.changesOuter = scope === "shared";
  }

  get reader(): Reader | undefined {
    if (this.search.objective === "magnitude") return undefined;
    return { name: rotate.name, cure: "take the objective magnitude, which needs none" };
  }

  phases(block: number) {
    const group = this.groups.find(({ first }) => first === block);
    const blocks = group ? group.end - group.first : 0;
    const search: Phase = ["rotate", SEARCH_WEIGHT * blocks, true];
    // A block of its own is rotated after its calibration.
    if (blocks > 1) return { before: [["survey", 7 * blocks], search] as const, after: [] };
    return { before: [], after: [search] };
  }

  isTimed(): boolean {
    return true;
  }

  start(tools: RunTools): TransformRun {
    return new Rotator(tools, this.groups, this.search, this.changesOuter);
  }
}
