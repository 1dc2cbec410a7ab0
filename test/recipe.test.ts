import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type GivenRecipe, type Recipe, readRecipe, stepsOf } from "../src/compress/recipe.js";
import { planPruning } from "../src/compress/transforms/prune.js";
import { nearest } from "../src/errors.js";
import { methods } from "../src/methods/index.js";
import { type NumberSpec, resolveOptions } from "../src/options.js";
import { formatSparsity, LARGEST_M, parseSparsity, removedCount } from "../src/sparsity.js";
import { BAD_RECIPES, BAD_TOGETHER } from "./bad-recipes.js";
import { refused } from "./checkpoint/crafted.js";

const test = suite("recipe");

/** A model of two blocks, as compress names its layers. */
const LAYERS: ReadonlyMap<string, readonly number[]> = new Map(
  [0, 1].flatMap((block): [string, number[]][] => [
    [`model.layers.${block}.self_attn.q_proj`, [8, 12]],
    [`model.layers.${block}.mlp.up_proj`, [16, 12]],
    [`model.layers.${block}.mlp.down_proj`, [12, 18]],
  ]),
);

/** What an empty recipe is. */
const DEFAULT: Recipe = {
  version: 2,
  samples: 128,
  length: 256,
  sampling: "start",
  statistics: "sequential",
  seed: 0,
  layout: "dense",
  stream: "f32",
  layerError: true,
  steps: [
    {
      prune: {
        method: "sparsegpt",
        sparsity: "2:4",
        damping: 0.01,
        blockSize: 128,
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: 0.01,
        refit: 0,
      },
      ignore: ["lm_head", "model.embed_tokens"],
    },
  ],
};

/** Each layer's last words with its method and sparsity, such as "0.mlp.up_proj wanda 2:4". */
async function planned(given: GivenRecipe): Promise<string[]> {
  return [...(await planPruning(stepsOf(readRecipe(given)), LAYERS))].map(
    ([name, { method, sparsity }]) =>
      `${name.slice("model.layers.".length)} ${method.name} ${formatSparsity(sparsity)}`,
  );
}

test("a sparsity is N:M, a percentage or a share", () => {
  assert.equal(parseSparsity("2:4"), { kind: "n:m", n: 2, m: 4 });
  assert.equal(parseSparsity(" 16:16 "), { kind: "n:m", n: 16, m: 16 });
  for (const text of ["50%", "0.5", ".5", 0.5, "050%"]) {
    assert.equal(parseSparsity(text), { kind: "unstructured", ratio: 0.5 }, String(text));
  }
  assert.equal(parseSparsity(0), { kind: "unstructured", ratio: 0 });
  assert.equal(parseSparsity("1:4"), { kind: "n:m", n: 1, m: 4 });
  assert.equal(parseSparsity("30%"), { kind: "unstructured", ratio: 0.3 });
});

test("what is no sparsity is refused with the forms that are", async () => {
  for (const text of ["0:4", "5:4", "2:17", "0:0", "999:999"]) {
    await refused(
      () => parseSparsity(text),
      new RegExp(`^\\[sparsity\\] "${text}" .*1 <= N <= M <= ${LARGEST_M}.*2:4`),
    );
  }
  const shares = [
    "100%",
    "1",
    "50",
    "-0.5",
    "0.5.1",
    "half",
    "",
    "2:4:8",
    "2/4",
    "1e-1",
    "NaN",
    "%",
  ];
  for (const text of shares) {
    await refused(
      () => parseSparsity(text, "here"),
      /^\[here\] ".*" is not a sparsity.*below 100%/,
    );
  }
  await refused(() => parseSparsity(Number.NaN), /"NaN" is not a sparsity/);
});

test("formatSparsity gives what parseSparsity reads back", () => {
  const patterns = fc
    .integer({ min: 1, max: LARGEST_M })
    .chain((m) => fc.tuple(fc.integer({ min: 1, max: m }), fc.constant(m)))
    .map(([n, m]) => ({ kind: "n:m" as const, n, m }));
  const ratios = fc
    .integer({ min: 0, max: 9999 })
    .map((share) => ({ kind: "unstructured" as const, ratio: share / 10000 }));
  fc.assert(
    fc.property(fc.oneof(patterns, ratios), (sparsity) => {
      const back = parseSparsity(formatSparsity(sparsity));
      assert.is(back.kind, sparsity.kind);
      if (sparsity.kind === "n:m" || back.kind === "n:m") assert.equal(back, sparsity);
      else assert.ok(Math.abs(back.ratio - sparsity.ratio) < 1e-12, formatSparsity(back));
      assert.is(formatSparsity(back), formatSparsity(sparsity));
    }),
  );
});

test("an empty recipe is the default, and undefined keys count as missing", async () => {
  assert.equal(readRecipe({}), DEFAULT);
  assert.equal(readRecipe({ method: undefined, samples: undefined }), DEFAULT);
  assert.equal(readRecipe({ version: 1 }), DEFAULT);
  assert.equal(readRecipe({ version: 2, steps: [{ prune: {} }] }), DEFAULT);
  assert.equal(readRecipe(JSON.parse(JSON.stringify(DEFAULT))), DEFAULT);
});

for (const [given, message] of [...BAD_RECIPES, ...BAD_TOGETHER]) {
  test(`refuses ${JSON.stringify(given)}`, async () => {
    await refused(() => readRecipe(given, "r"), message);
  });
}

test("every layer follows the recipe unless an override matches; later ones win", async () => {
  assert.equal(await planned({ sparsity: "1:2", method: "wanda" }), [
    "0.self_attn.q_proj wanda 1:2",
    "0.mlp.up_proj wanda 1:2",
    "0.mlp.down_proj wanda 1:2",
    "1.self_attn.q_proj wanda 1:2",
    "1.mlp.up_proj wanda 1:2",
    "1.mlp.down_proj wanda 1:2",
  ]);
  const overrides = [
    { match: "*.down_proj", method: "magnitude", sparsity: "30%" },
    { match: "model.layers.1.*", sparsity: "70%" },
    { match: "*.{q,k}_proj", method: "nowag", sparsity: undefined },
  ];
  assert.equal(await planned({ overrides }), [
    "0.self_attn.q_proj nowag 2:4",
    "0.mlp.up_proj sparsegpt 2:4",
    "0.mlp.down_proj magnitude 30%",
    "1.self_attn.q_proj nowag 70%",
    "1.mlp.up_proj sparsegpt 70%",
    "1.mlp.down_proj magnitude 70%",
  ]);
});

test("a flat recipe and its steps are one recipe", () => {
  const prune = { method: "wanda", sparsity: 0.5 };
  const flat = readRecipe({ ...prune, seed: 3, rotate: { steps: 5 }, ignore: ["*.o_proj"] });
  const steps = [{ rotate: { steps: 5 } }, { prune, ignore: ["*.o_proj"] }];
  assert.equal(flat, readRecipe({ version: 2, seed: 3, steps }));
  assert.equal(readRecipe(flat), flat);
  assert.equal(flat.steps, [
    { rotate: { scope: "block", steps: 5, scoreDamping: 0.01 } },
    {
      prune: {
        method: "wanda",
        sparsity: "50%",
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: 0.01,
        refit: 0,
      },
      ignore: ["*.o_proj"],
    },
  ]);
  assert.equal(readRecipe({ version: 2, steps: [{ prune: null }] }), DEFAULT);
});

test("steps act where they match, and no layer is pruned twice", async () => {
  const attention = { prune: { method: "wanda" }, match: ["*.self_attn.*"] };
  const rest = { prune: { sparsity: "1:2" }, ignore: ["*.self_attn.*"] };
  assert.equal((await planned({ version: 2, steps: [rest, attention] })).slice(0, 3), [
    "0.self_attn.q_proj wanda 2:4",
    "0.mlp.up_proj sparsegpt 1:2",
    "0.mlp.down_proj sparsegpt 1:2",
  ]);
  await refused(
    () => planned({ version: 2, steps: [attention, { prune: { sparsity: "1:2" } }] }),
    /^\[steps\[1\]\] prune acts on model\.layers\.0\.self_attn\.q_proj, which prune \(steps\[0\]\) has pruned/,
  );
  const nothing = { prune: {}, match: ["*.nine.*"] };
  await refused(
    () => planned({ version: 2, steps: [nothing] }),
    /^\[match\] "\*\.nine\.\*" matches no layer/,
  );
});

test("later overrides win option by option in steps, and as a whole in a flat recipe", async () => {
  const optionsOf = async (given: GivenRecipe) =>
    (await planPruning(stepsOf(readRecipe(given)), LAYERS)).get("model.layers.0.mlp.up_proj")
      ?.options;
  const sparsity = "1:2";
  const steps = [
    {
      prune: { sparsity, damping: 0.5 },
      overrides: [
        { match: "*.up_proj", damping: 0.1 },
        { match: "model.layers.0.*", blockSize: 8 },
      ],
    },
  ];
  assert.equal(await optionsOf({ version: 2, steps }), { damping: 0.1, blockSize: 8 });
  const overrides = [
    { match: "*.up_proj", options: { damping: 0.1 } },
    { match: "model.layers.0.*", options: { blockSize: 8 } },
  ];
  const flat = { sparsity, options: { damping: 0.5 }, overrides };
  assert.equal(await optionsOf(flat), { damping: 0.5, blockSize: 8 });
});

test("options go with their method", async () => {
  const options = { damping: 0.5 };
  const overrides = [
    { match: "*.q_proj", options: { blockSize: 8 } },
    { match: "*.mlp.*", method: "wanda", sparsity: "50%" },
  ];
  const plan = await planPruning(stepsOf(readRecipe({ options, overrides })), LAYERS);
  assert.equal(plan.get("model.layers.0.self_attn.q_proj")?.options, {
    damping: 0.5,
    blockSize: 8,
  });
  assert.equal(plan.get("model.layers.0.mlp.up_proj")?.options, {});
});

test("options that an earlier override's method does not have are refused", async () => {
  const overrides = [
    { match: "*.up_proj", method: "wanda" },
    { match: "model.layers.0.*", options: { damping: 1 } },
  ];
  await refused(
    () => planned({ overrides, sparsity: "50%" }),
    /\[model\.layers\.0\.mlp\.up_proj: wanda\] "damping" is not an option/,
  );
});

test("ignored layers are left out", async () => {
  assert.equal(await planned({ ignore: ["*.mlp.*", "model.layers.0.*", "lm_head"] }), [
    "1.self_attn.q_proj sparsegpt 2:4",
  ]);
});

test("globs that match nothing, and recipes that leave nothing, are refused", async () => {
  const typo = ["*.dwn_proj"];
  await refused(
    () => planned({ ignore: typo }),
    /^\[ignore\] "\*\.dwn_proj" matches no layer; names look like model\.layers\.0\.self_attn/,
  );
  await refused(
    () => planned({ overrides: [{ match: "layers.0.*", sparsity: "50%" }] }),
    /^\[overrides\] "layers\.0\.\*" matches no layer/,
  );
  await refused(() => planned({ ignore: ["*"] }), /^\[ignore\] every layer is ignored/);
});

test("texts that are no globs, and too many steps, are refused", async () => {
  for (const glob of ["x".repeat(1001), "?".repeat(70_000), "*".repeat(1001)]) {
    await refused(
      () => planned({ ignore: [glob] }),
      /^\[ignore\] "[x?*]{200}"\.\.\. is no glob \(it has more than 1000 characters\)/,
    );
  }
  const steps = Array.from({ length: 101 }, () => ({ prune: {} }));
  await refused(() => readRecipe({ version: 2, steps }), /101 steps, more than the 100 accepted/);
});

test("values that JSON cannot hold are refused as others are", async () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.itself = cyclic;
  let deep: unknown = 1;
  for (let i = 0; i < 20_000; i++) deep = [deep];
  for (const [value, shown] of [
    [cyclic, "an object that cannot be written as JSON"],
    [deep, "a list that cannot be written as JSON"],
    [12n, "12n"],
    [Symbol("a"), "Symbol\\(a\\)"],
    [() => 1, "a function"],
    [Number.NaN, "NaN"],
  ] as const) {
    for (const key of ["method", "samples", "ignore", "version"]) {
      await refused(() => readRecipe({ [key]: value }), new RegExp(`${key} is ${shown}, must be`));
    }
  }
});

test("N:M must divide a layer's inputs unless it is ignored", async () => {
  const message =
    /^\[sparsegpt\] model\.layers\.0\.mlp\.down_proj: its 18 inputs are not a multiple of M=4, which 2:4 needs; leave it out with `ignore: "model\.layers\.0\.mlp\.down_proj"` or .*50%/;
  await refused(() => planned({}), message);
  assert.is((await planned({ ignore: ["*.down_proj"] })).length, 4);
  assert.is((await planned({ sparsity: "3:6" })).length, 6);
});

test("every method's options: defaults are in range, and each limit is kept", async () => {
  for (const { name: method, options } of Object.values(methods)) {
    const resolved = (given: object) =>
      resolveOptions<Record<string, NumberSpec>>(options, given, method);
    assert.equal(Object.keys(resolved({})), Object.keys(options));
    for (const [name, spec] of Object.entries<Required<NumberSpec>>(options)) {
      assert.ok(spec.default >= spec.min && spec.default <= spec.max && spec.min < spec.max, name);
      assert.ok(spec.description.length > 0);
      for (const edge of [spec.min, spec.max]) {
        assert.is(resolved({ [name]: edge })[name], edge);
      }
      for (const bad of [spec.min - 1, spec.max + 1, Number.NaN, "1", true]) {
        await refused(
          () => resolved({ [name]: bad }),
          new RegExp(`^\\[${method}\\] ${name} is .*, must be .* from ${spec.min} to ${spec.max}`),
        );
      }
    }
  }
});

test("a ratio removes floor(n * ratio), rounding of the product aside", () => {
  assert.is(removedCount(100, 0.29), 29);
  assert.is(removedCount(1_000_003, 0.5), 500_001);
  for (const percent of Array.from({ length: 100 }, (_, i) => i)) {
    assert.is(removedCount(1_000_000, percent / 100), percent * 10_000);
    assert.is(removedCount(99, percent / 100), Math.floor((99 * percent) / 100));
  }
});

test("a name cut short is recognised", () => {
  assert.is(nearest("damp", ["blockSize", "damping"]), "damping");
  assert.is(nearest("zzz", ["blockSize", "damping"]), undefined);
});

test.run();
