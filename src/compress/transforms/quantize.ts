import { lookUp, PenjingError } from "../../errors.js";
import { GGUF } from "../../export/gguf-options.js";
import { type Form, type KTypeName, leavesOf, type MatrixShape } from "../../form.js";
import { K_BLOCK, K_TYPES, type KTypeRules } from "../../forms/k-type.js";
import { describe } from "../../forms/leaf.js";
import { PAIR } from "../../forms/pairs.js";
import { MOST_TABLE_BITS } from "../../forms/table.js";
import { GRID_OPTIONS, type GridChoice, LEVELS } from "../../grid.js";
import { ANCHOR } from "../../least-squares/anchor.js";
import type { AnyMethod } from "../../method.js";
import type { ChoiceSpec, OptionSpecs, SparsitySpec } from "../../options.js";
import type { QuantizerName } from "../../quantizers/index.js";
import type { Registry } from "../../registry.js";
import type { RotationLoss } from "../../rotation.js";
import { formatSparsity, isTwoFour, parseSparsity, type Sparsity } from "../../sparsity.js";
import { type LayerPlan, methodName } from "../solve.js";
import { asksForTables, planTables, storesIn, TABLE_OPTIONS, TableSteps } from "../tables.js";
import type { GridOf, PlanTarget, ReadStep, Transform, TransformKind } from "../transform.js";
import { type LayerWork, LinearSteps, planLayers } from "./linears.js";
import { refuseShape } from "./prune.js";

/** Descriptions of its options. */
export type QuantizeSpecs = {
  readonly method: ChoiceSpec & {
    readonly values: readonly (QuantizerName | (string & {}))[];
    readonly default: string;
    readonly brings: Readonly<Record<string, OptionSpecs>>;
  };
} & typeof SPARSITY &
  typeof ANCHOR &
  typeof TABLE_OPTIONS;

const SPARSITY = {
  sparsity: {
    kind: "sparsity",
    otherwise: "no weight is removed",
    description:
      "N:M, remove all but N of every M inputs of a row in the same sweep, which gptq can; without it what was pruned before stays pruned",
  } satisfies SparsitySpec as SparsitySpec,
};

function optionsOf({ quantizers }: Registry): QuantizeSpecs {
  return {
    method: {
      kind: "choice",
      values: Object.keys(quantizers),
      default: "gptq",
      brings: Object.fromEntries(
        Object.values(quantizers).map(({ name, options }) => [name, options]),
      ),
      description: "how weights are put on a grid of few bits",
    },
    ...SPARSITY,
    ...ANCHOR,
    ...TABLE_OPTIONS,
  };
}

/** The layout that stores codes. */
const CODES = "grouped-int";

/** Puts the blocks' linears on grids of few bits, by the quantizers that a call knows. */
export function quantizeKind(registry: Registry) {
  const kind = {
    name: "quantize",
    summary: "store weights of the blocks' linears in few bits",
    scope: "linear",
    options: optionsOf(registry),
    whole: Object.keys(TABLE_OPTIONS),
    leaves: "codes",
    layout: CODES,
    cannotFollow: {},
    check(options: ReadStep["options"], where: string) {
      const { method: name } = options;
      const method = registry.quantizers[name as string];
      refuseSparsity(options, method, where);
      for (const statistic of method.needs(ownOptions(options))) {
        lookUp(registry.statistics, statistic, `${methodName(method)}: needs`);
      }
    },
    rotationAim(options: ReadStep["options"], asked?: ReturnType<GridOf>) {
      const method = registry.quantizers[options.method as string];
      const { kType, ...given } = { ...options, ...(method.options.kType && asked) };
      const rules = kType ? K_TYPES[kType as KTypeName] : (given as Partial<KTypeRules>);
      const { bits = GRID_OPTIONS.bits.default, groupSize = GRID_OPTIONS.groupSize.default } =
        rules;
      const isBlind = method.needs(ownOptions(options)).length === 0;
      const symmetric = kType ? !(rules as KTypeRules).hasMinima : given.symmetric !== false;
      return {
        grid: { bits, groupSize, symmetric },
        importance: (loss: RotationLoss) =>
          isBlind ? "magnitude" : (method.rotation?.[loss] ?? "magnitude"),
      };
    },
    async plan(steps: readonly ReadStep[], target: PlanTarget): Promise<Transform> {
      const { spec, layers, rest } = target;
      const plan = await planLayers(steps, layers, workFor(target, registry), rest);
      const tables = planTables(steps, target);
      const Steps = tables.size > 0 ? TableSteps : LinearSteps;
      return new Steps(
        spec,
        new Map([...plan, ...tables]),
        "quantize",
        "rtn with `weighted: false`",
      );
    },
  } as const satisfies TransformKind;
  return kind;
}

/** The options of the method, without those that are the step's own. */
function ownOptions({ method: _, ...options }: ReadStep["options"]): ReadStep["options"] {
  const shared = Object.keys({ ...SPARSITY, ...ANCHOR, ...TABLE_OPTIONS });
  return Object.fromEntries(Object.entries(options).filter(([name]) => !shared.includes(name)));
}

/** What a step removes itself: nothing by default. */
function sparsityOf({ sparsity }: ReadStep["options"]): Sparsity {
  if (sparsity === undefined) return { kind: "unstructured", ratio: 0 };
  return parseSparsity(sparsity as string);
}

const removes = (sparsity: Sparsity) => sparsity.kind === "n:m" || sparsity.ratio > 0;

/** @throws PenjingError for a method that does not remove weights so, and groups that tear its M */
function refuseSparsity(options: ReadStep["options"], method: AnyMethod, where: string): void {
  const sparsity = sparsityOf(options);
  if (!removes(sparsity)) return;
  const refuse = (what: string): never => {
    throw new PenjingError(`${where}: sparsity`, `${method.name} ${what}`);
  };
  if (!method.removes) {
    refuse("removes no weights; leave it out, or prune in a step of its own before.");
  }
  const refusal = method.refusal?.(sparsity);
  if (refusal) refuse(refusal);
  const { groupSize } = options;
  if (sparsity.kind !== "n:m" || typeof groupSize !== "number") return;
  const { m } = sparsity;
  if (groupSize % m !== 0) {
    refuse(
      `has groups of ${groupSize} columns, which are not a multiple of M=${m}; choose a \`groupSize\` that is, such as ${m * 8}.`,
    );
  }
}

/** What quantizing does with a layer, and how it gets on with steps before it. */
function workFor({ layout, before, gridOf }: PlanTarget, { quantizers }: Registry): LayerWork {
  return {
    verb: "quantize",
    done: "quantized",
    twice: "what is quantized twice is off by both roundings",
    actsElsewhere: asksForTables,
    planOf(given, layer, shape): LayerPlan {
      const { method: name, anchor, anchorResidual, anchorDamping } = given;
      const method = quantizers[name as string];
      const asked = gridOf?.(layer);
      const options = onLevels(
        onGrid(ownOptions(given), method.options, asked, layer),
        method.options,
      );
      if (options.levels === "pairs") refuseOdd(layer, shape);
      const form = method.form?.(shape, options);
      if (form && layout === GGUF) refuseNewer(form, layer);
      if (options.kType) refuseKType(options.kType as KTypeName, layout, layer, shape);
      const earlier = before.get(layer);
      const sparsity = earlier?.sparsity ?? sparsityOf(given);
      if (earlier || removes(sparsity)) {
        if (form) refuseWithoutZero(form, layer, earlier);
        refuseZeros(options, layer, { earlier, asked });
      }
      if (!earlier) refuseShape({ method, sparsity }, layer, shape[1]);
      if (earlier) {
        refuseTwice(sparsityOf(given), layer);
        const anchors = { anchor, anchorResidual, anchorDamping };
        refuseEarlier(earlier, { ...options, ...anchors }, layer, shape);
      }
      return {
        method,
        options,
        sparsity,
        // What was pruned before comes near what its own step was after.
        anchor: earlier?.anchor ?? (anchor as number),
        anchorResidual: earlier?.anchorResidual ?? (anchorResidual as number),
        anchorDamping: earlier?.anchorDamping ?? (anchorDamping as number),
        refit: 0,
        stores: storesIn(layout, isTwoFour(sparsity) && !options.kType),
      };
    },
  };
}

/**
 * Options with the grid that a file's type asks for in the place of the recipe's, and with bits, groups and
 * symmetry of a K type.
 *
 * @throws PenjingError for options of another grid than that of the file's type
 */
function onGrid(
  given: ReadStep["options"],
  specs: OptionSpecs,
  asked: ReturnType<GridOf>,
  layer: string,
): ReadStep["options"] {
  // A method that does not know K types makes the codes that it makes.
  const grid = specs.kType && asked;
  const type = (grid ? grid.kType : given.kType) as KTypeName | undefined;
  const { bits, groupSize, hasMinima } = type ? K_TYPES[type] : ({} as Partial<KTypeRules>);
  const own = type ? { bits, groupSize, symmetric: !hasMinima } : {};
  const chosen = { ...grid, ...own } as ReadStep["options"];
  for (const name of grid ? ["kType", "levels", "bits", "groupSize", "symmetric"] : []) {
    const value = given[name];
    if (value === specs[name].default || value === chosen[name]) continue;
    throw new PenjingError(
      "ggufType",
      `${layer}: \`${name}: ${value}\` is not its grid, which the type of its tensor chooses; leave \`${name}\` out.`,
    );
  }
  return { ...given, ...chosen };
}

/**
 * Options with the bits and the symmetry of the levels that they choose.
 *
 * @throws PenjingError for options that the levels do not have
 */
function onLevels(given: ReadStep["options"], specs: OptionSpecs): ReadStep["options"] {
  const levels = (given.levels ?? "integer") as GridChoice["levels"];
  const refuse = (what: string): never => {
    throw new PenjingError("levels", what);
  };
  if (levels !== "binary" && (given.terms ?? 1) !== 1) {
    refuse(
      `\`terms: ${given.terms}\` adds binary matrices up, and the levels are ${levels}; give \`levels: binary\`, or leave \`terms\` out.`,
    );
  }
  if (levels === "integer") return given;
  if (given.kType) {
    refuse(`${levels} levels are none of ${given.kType}; leave out \`levels\` or \`kType\`.`);
  }
  const own: ReadStep["options"] = LEVELS[levels];
  for (const [name, value] of Object.entries(own)) {
    if (given[name] === value || given[name] === specs[name].default) continue;
    refuse(
      `${levels} levels have \`${name}: ${value}\`, not ${given[name]}; leave \`${name}\` out.`,
    );
  }
  if (levels === "table" && (given.bits as number) > MOST_TABLE_BITS) {
    refuse(
      `a table of \`bits: ${given.bits}\` is more than its ${2 ** MOST_TABLE_BITS} levels; give at most ${MOST_TABLE_BITS} bits.`,
    );
  }
  const { groupSize } = given;
  if (levels === "pairs" && typeof groupSize === "number" && groupSize % PAIR !== 0) {
    refuse(
      `pairs are of two inputs, and \`groupSize: ${groupSize}\` tears one; give an even number, such as 32.`,
    );
  }
  return { ...given, ...own };
}

/** @throws PenjingError for a layer with an input that has no other one beside it */
function refuseOdd(layer: string, [, cols]: MatrixShape): void {
  if (cols % PAIR === 0) return;
  throw new PenjingError(
    "levels",
    `${layer}: its ${cols} inputs are no whole pairs; leave it out with \`ignore: "${layer}"\`, or choose \`levels: table\`.`,
  );
}

/** Kinds of numbers that need not have a level for 0, and that no GGUF file has. */
const NEWER: readonly string[] = ["table", "pairs", "affine"];

/** Whether codes are other than GGUF files have them. */
const isNewer = (form: Form<undefined>) =>
  form.kind !== "leaf" || NEWER.includes(form.numbers.kind);

/** @throws PenjingError for codes that no type of GGUF has */
function refuseNewer(form: Form<undefined>, layer: string): void {
  if (!isNewer(form)) return;
  throw new PenjingError(
    "layout",
    `${layer}: no GGUF type has ${describe(form)}; choose the layout ${CODES}, or \`levels: integer\`.`,
  );
}

/** @throws PenjingError for codes none of which need be 0, for a layer that is pruned */
function refuseWithoutZero(
  form: Form<undefined>,
  layer: string,
  earlier: LayerPlan | undefined,
): void {
  const { numbers } = leavesOf(form)[0];
  if (!NEWER.includes(numbers.kind)) return;
  throw new PenjingError(
    "quantize",
    `${layer}: it is pruned${earlier ? " before" : ""}, and ${describe(form)} has no level for zeros that must stay; choose \`levels: integer\` or \`levels: ternary\`.`,
  );
}

/** @throws PenjingError for a layer that has no blocks of a K type, or whose codes would not be stored */
function refuseKType(type: KTypeName, layout: string, layer: string, [, cols]: MatrixShape): void {
  if (cols % K_BLOCK !== 0) {
    throw new PenjingError(
      "kType",
      `${layer}: its ${cols} inputs are no whole blocks of ${K_BLOCK}, as ${type} has them; leave it out with \`ignore: "${layer}"\`, or give \`ggufType: ${type}\` instead, which puts such layers in another type.`,
    );
  }
  if (layout === GGUF || storesIn(layout) === "values") return;
  throw new PenjingError(
    "kType",
    `only GGUF files have ${type}, not the layout ${layout}; give \`layout: gguf\`.`,
  );
}

/** @throws PenjingError for a layer that is pruned before and would be once more */
function refuseTwice(sparsity: Sparsity, layer: string): void {
  if (!removes(sparsity)) return;
  throw new PenjingError(
    "quantize",
    `${layer}: it is pruned before, and \`sparsity: ${formatSparsity(sparsity)}\` would prune it once more; leave one of the two out.`,
  );
}

/**
 * @throws PenjingError when what an earlier step leaves of a layer cannot be put on a grid
 */
function refuseEarlier(
  { method, options: own, ...earlier }: LayerPlan,
  anchors: ReadStep["options"],
  layer: string,
  shape: MatrixShape,
): void {
  if (method.form?.(shape, own)) {
    throw new PenjingError(
      "quantize",
      `${layer}: ${method.name} makes a product of it, which is not quantized; let match and ignore keep the two apart.`,
    );
  }
  for (const anchor of ["anchor", "anchorResidual", "anchorDamping"] as const) {
    const given = anchors[anchor] as number;
    if (given === ANCHOR[anchor].default || given === earlier[anchor]) continue;
    const there = earlier[anchor] > 0 ? `, with ${earlier[anchor]} and not ${given}` : "";
    throw new PenjingError(
      "quantize",
      `${layer}: it is pruned before, and what makes up for its inputs is chosen there${there}; give \`${anchor}\` to the step that prunes it.`,
    );
  }
}

/**
 * @param terms what pruned it before, if anything, and the grid that a file's type asks for
 * @throws PenjingError when zeros are to stay where a grid does not hold 0
 */
function refuseZeros(
  { symmetric, kType }: ReadStep["options"],
  layer: string,
  { earlier, asked }: { readonly earlier: LayerPlan | undefined; asked: ReturnType<GridOf> },
): void {
  if (symmetric !== false) return;
  const grids = kType ? `grids of ${kType}` : "grids with zero points";
  const cure = asked
    ? "choose `ggufType: Q6_K`, or another type without minima"
    : kType
      ? "choose `kType: Q6_K`, or leave it out"
      : "leave out `symmetric: false`";
  throw new PenjingError(
    "quantize",
    `${layer}: it is pruned${earlier ? " before" : ""}, and ${grids} are not taken for zeros that must stay; ${cure}.`,
  );
}
