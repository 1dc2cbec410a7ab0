import { PenjingError } from "../../errors.js";
import type { OptionSpecs, OptionsOf } from "../../options.js";
import { checkBlockSize, checkHeadsOnly, checkPower } from "../../rotation/options.js";
import { type BlockGroup, rotationGroups, SCOPE } from "../../rotation/scope.js";
import {
  DEFAULT_PATTERN,
  ROTATION_LOSSES,
  ROTATION_OBJECTIVES,
  type RotationLoss,
  type RotationObjective,
  type RotationPattern,
  SEARCH_OPTIONS,
} from "../../rotation.js";
import type { Sparsity } from "../../sparsity.js";
import { rotationRefusal } from "../rotate.js";
import { Rotator } from "../rotator.js";
import type {
  GridOf,
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
  loss: {
    kind: "choice",
    values: ROTATION_LOSSES,
    otherwise: "rounding where what follows quantizes and nothing prunes, else removed",
    description: SEARCH_OPTIONS.loss.description,
  },
  groupSize: {
    ...SEARCH_OPTIONS.groupSize,
    default: undefined,
    otherwise: "the quantizer's, else 32",
  },
  power: {
    ...SEARCH_OPTIONS.power,
    default: undefined,
    otherwise: "8, and 4 before a quantizer to 2 bits or fewer",
  },
  scoreDamping: SEARCH_OPTIONS.scoreDamping,
  blockSize: SEARCH_OPTIONS.blockSize,
} as const satisfies OptionSpecs;

export type RotateOptions = OptionsOf<typeof ROTATE_OPTIONS>;

/** Turns the blocks so that importance concentrates in few weights (DenoiseRotator), or rounds well. */
export const rotate = {
  name: "rotate",
  summary:
    "turn the blocks first, so that importance concentrates in few weights (DenoiseRotator) or little is lost by rounding",
  scope: "model",
  options: ROTATE_OPTIONS,
  leaves: "turn",
  cannotFollow: {
    zeros: "a turn mixes weights and fills the zeros; put rotate before it",
    codes: "a turn mixes weights and leaves no grid; put rotate before it",
    scales:
      "it folds the norms' gains, which scales divide, into the linears behind; put rotate before it",
    turn: "a model is rotated once, for as many steps as it takes; leave one of the two out",
  },
  check({ scope, blockSize, power }: ReadStep["options"], where: string) {
    checkHeadsOnly(scope === "heads", blockSize as number | undefined, where);
    if (power !== undefined) checkPower(power as number, where);
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
export type Search = Omit<RotateOptions, "scope" | "objective" | "loss" | "groupSize" | "power"> & {
  readonly headsOnly: boolean;
  readonly loss: RotationLoss;
  readonly groupSize: number | "row";
  readonly power: number;
  readonly objective: RotationObjective;
  readonly pattern: RotationPattern;
};

/**
 * What is searched for.
 *
 * @param later steps after the rotation
 * @param asked as of `TransformKind.rotationAim`
 */
export function planSearch(
  { scope, ...options }: RotateOptions,
  later: readonly ReadStep[],
  asked?: ReturnType<GridOf>,
): Search {
  const aims = later.flatMap(({ kind, options: own }) => kind.rotationAim?.(own, asked) ?? []);
  const pruning = aims.find(({ sparsity }) => sparsity);
  const rounding = aims.find(({ grid }) => grid);
  const pattern = pruning?.sparsity ? patternOf(pruning.sparsity) : DEFAULT_PATTERN;
  const usual = rounding && !pruning ? "rounding" : "removed";
  const loss = chosenLoss(options.loss ?? usual, pattern);
  const aim = (loss === "rounding" ? (rounding ?? pruning) : (pruning ?? rounding)) as
    | RotationAim
    | undefined;
  const { bits, groupSize } = rounding?.grid ?? SEARCH_GRID;
  return {
    ...options,
    headsOnly: scope === "heads",
    objective: options.objective ?? aim?.importance(loss) ?? "magnitude",
    loss,
    pattern,
    groupSize: options.groupSize ?? groupSize,
    power: options.power ?? (bits <= 2 ? FEW_BITS_POWER : SEARCH_OPTIONS.power.default),
  };
}

/** Where nothing says what weights are rounded to. */
const SEARCH_GRID = { bits: 4, groupSize: SEARCH_OPTIONS.groupSize.default } as const;
/** At 2 bits the search for scales clips the largest weights anyway, and p = 4 is nearer to what it leaves. */
const FEW_BITS_POWER = 4;

/** A pattern that leaves no choice shows nothing that could be removed. */
function chosenLoss(loss: RotationLoss, { n, m }: RotationPattern): RotationLoss {
  return loss === "removed" && n === m ? "entropy" : loss;
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
  constructor(options: RotateOptions, { spec, later, layers, gridOf }: PlanTarget) {
    const { scope, blockSize } = options;
    // One rotation serves all layers: the first one's grid stands for theirs.
    const [first = ""] = layers.keys();
    this.search = planSearch(options, later, gridOf?.(first));
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
