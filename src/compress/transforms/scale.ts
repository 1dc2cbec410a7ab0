import { PenjingError } from "../../errors.js";
import type { DecoderSpec } from "../../model.js";
import type { OptionSpecs, OptionsOf } from "../../options.js";
import { scaleGroups } from "../../scaling/groups.js";
import type { ScaleGrid } from "../../scaling/search.js";
import { Scaler } from "../scaler.js";
import type {
  Phase,
  PlanTarget,
  ReadStep,
  RunTools,
  Transform,
  TransformKind,
  TransformRun,
} from "../transform.js";

export const SCALE_OPTIONS = {
  fold: {
    kind: "choice",
    values: ["all", "linears"],
    default: "all",
    description:
      "what is divided in return: norms and linears, or linears alone (attention's values, and what a gate lets through), as behind a rotation",
  },
} as const satisfies OptionSpecs;

type ScaleOptions = OptionsOf<typeof SCALE_OPTIONS>;

/** Scales inputs of linears so that rounding them loses less (AWQ). */
export const scale = {
  name: "scale",
  summary:
    "scale the inputs of linears before they are quantized, so that those that matter round finer (AWQ)",
  scope: "block",
  options: SCALE_OPTIONS,
  leaves: "scales",
  cannotFollow: {
    zeros: "what is pruned is no longer changed; put scale before it",
    codes: "codes do not follow scales; put scale before it",
    scales: "a model is scaled once; leave one of the two out",
  },
  plan: ([step], target): Transform => new Scaling(step.options as unknown as ScaleOptions, target),
} satisfies TransformKind;

/** @throws PenjingError behind a rotation of the stream, which leaves norms without gains */
function refuseTurned(fold: ScaleOptions["fold"], earlier: readonly ReadStep[]): void {
  const isTurned = earlier.some(
    ({ kind, options }) => kind.leaves === "turn" && options.scope !== "heads",
  );
  if (!isTurned || fold !== "all") return;
  throw new PenjingError(
    scale.name,
    "behind a rotation the norms' gains are 1 and must stay so, and there is nothing to divide for what reads them; give `fold: linears` for the others, or leave one of the two out.",
  );
}

class Scaling implements Transform {
  readonly layers = new Map<string, never>();
  readonly changesOuter = false;
  readonly turnsWeights = true;
  readonly reader = { name: scale.name, cure: "leave it out" };
  private readonly grid: ScaleGrid;
  private readonly withNorms: boolean;
  private readonly spec: DecoderSpec;

  /** @throws PenjingError where nothing follows that rounds, or nothing can be scaled */
  constructor({ fold }: ScaleOptions, { spec, earlier, later, layers, gridOf }: PlanTarget) {
    refuseTurned(fold, earlier);
    this.spec = spec;
    this.withNorms = fold === "all";
    const [first = ""] = layers.keys();
    const aims = later.flatMap(
      ({ kind, options }) => kind.rotationAim?.(options, gridOf?.(first)) ?? [],
    );
    const grid = aims.find((aim) => aim.grid)?.grid;
    if (!grid) {
      throw new PenjingError(
        scale.name,
        "it prepares weights for rounding, and nothing rounds them; put a step `quantize` behind it, or leave it out.",
      );
    }
    this.grid = grid;
    if (spec.blocks.some((block) => scaleGroups(block, this.withNorms).length > 0)) return;
    throw new PenjingError(
      scale.name,
      `nothing in a model of the family ${spec.family} makes up for scaled inputs without another result; leave it out.`,
    );
  }

  phases(block: number): { readonly before: Phase[]; readonly after: Phase[] } {
    const groups = scaleGroups(this.spec.blocks[block], this.withNorms);
    return { before: [], after: [[scale.name, 4 * groups.length]] };
  }

  isTimed(): boolean {
    return false;
  }

  start(tools: RunTools): TransformRun {
    return new Scaler(tools, this.grid, this.withNorms);
  }
}
