import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadPlugins } from "../../src/cli/plugins.js";
import { openModel, packMatrix } from "../../src/index.js";
import {
  denseLeaf,
  type Method,
  PenjingError,
  type Plugin,
  type PruneOutcome,
} from "../../src/kit.js";
import { layouts } from "../../src/layouts/index.js";
import { methods } from "../../src/methods/index.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { openRegistry } from "../../src/registry.js";
import { colsOf, rowsOf } from "../../src/tensor.js";
import { compressFiles, storyFiles } from "../compress/stories.js";
import { parts } from "./plugin.js";

const test = suite("plug-ins that are wrong");
const stories = storyFiles();

/** A plug-in of one method, which does something else than magnitude. */
function pluginOf(change: Partial<Method>): Plugin {
  const { magnitude } = methods;
  return { name: "acme", version: "1", methods: [{ ...magnitude, name: "odd", ...change }] };
}

/** What a compression with the method "odd" is refused with, and how many events it had before. */
async function refusal(
  change: Partial<Method>,
): Promise<{ error: PenjingError; started: boolean }> {
  let started = false;
  const magnitude: Method["prune"] = (problem, options) => {
    started = true;
    return (change.prune ?? methods.magnitude.prune)(problem, options);
  };
  const plugins = [pluginOf({ ...change, prune: magnitude })];
  const error = await compressFiles(stories, { method: "odd" }, { plugins }).then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  return { error, started };
}

test("a method that throws is named with its plug-in and the layer, and the cause is kept", async () => {
  const boom = new TypeError("x is undefined");
  const thrown = async (): Promise<PruneOutcome> => {
    throw boom;
  };
  const { error } = await refusal({ prune: thrown });
  assert.match(
    error.message,
    /^\[plug-in acme: method odd\] model\.layers\.0\.self_attn\.q_proj: it failed \(x is undefined\); tell/,
  );
  assert.is(error.cause, boom);
  const refusing = await refusal({
    refusal() {
      throw boom;
    },
  });
  assert.match(refusing.error.message, /^\[plug-in acme: method odd\] it failed/);
  assert.is(refusing.started, false);
});

test("what a method refuses or an operation refuses it is named too", async () => {
  const { error } = await refusal({
    async prune({ backend, weight }) {
      backend.ops.gemm(weight, weight, backend.zeros([1, 1]));
      throw assert.unreachable();
    },
  });
  assert.match(
    error.message,
    /^\[plug-in acme: method odd\] model\.layers\.0\.self_attn\.q_proj: \[gemm\] out is/,
  );
});

test("a family that fails is named, and its refusals are told as they are", () => {
  const read = (made: () => unknown) => {
    const family = { ...parts.bonsai, read: made } as typeof parts.bonsai;
    const acme: Plugin = { name: "acme", version: "1", families: [family] };
    const { families } = openRegistry([acme]);
    return () => readModelConfig("config.json", { model_type: "bonsai" }, { known: families });
  };
  assert.throws(
    read(() => ({})),
    /^\[plug-in acme: family bonsai\] read gives no decoder/,
  );
  const fail = () => {
    throw new Error("no");
  };
  assert.throws(read(fail), /\[plug-in acme: family bonsai\] it failed \(no\); tell/);
  const acme: Plugin = { name: "acme", version: "1", families: [parts.bonsai] };
  const { families } = openRegistry([acme]);
  assert.throws(
    () => readModelConfig("config.json", { model_type: "bonsai" }, { known: families }),
    /\[config\.json\] "hidden_size" is missing/,
  );
});

test("a statistic that nobody knows is refused before any work", async () => {
  const { error, started } = await refusal({ needs: () => ["hesian"] });
  assert.match(
    error.message,
    /^\[plug-in acme: method odd: needs\] "hesian" is not known; did you mean "hessian"\?/,
  );
  assert.is(started, false);
});

const WRONG: readonly [string, (made: PruneOutcome) => unknown, RegExp][] = [
  ["nothing", () => undefined, /it gave no outcome; mend the method/],
  ["no mask", ({ mask: _, ...rest }) => rest, /its mask is undefined, must be u8 \[(\d+),\1\]/],
  [
    "a mask of floats",
    (made) => ({ ...made, mask: { ...made.mask, dtype: "f32" } }),
    /its mask is f32/,
  ],
  [
    "figures that are texts",
    (made) => ({ ...made, figures: { a: "1" } }),
    /figures must be numbers/,
  ],
  ["notes that are no list", (made) => ({ ...made, notes: "all is well" }), /notes must be a list/],
  ["a form that is none", (made) => ({ ...made, form: { kind: "tree" } }), /its form cannot be/],
];

for (const [what, change, message] of WRONG) {
  test(`an outcome with ${what} is refused before anything is written`, async () => {
    const { error } = await refusal({
      async prune(problem, options) {
        return change(await methods.magnitude.prune(problem, options)) as PruneOutcome;
      },
    });
    assert.match(
      error.message,
      /^\[plug-in acme: method odd\] model\.layers\.0\.self_attn\.q_proj: /,
    );
    assert.match(error.message, message);
  });
}

test("a form of another shape, or of parts that do not fit, is refused", async () => {
  for (const [shape, message] of [
    [[8, 4], /its form is \[8,4\], must be \[(\d+),\1\]; mend/],
    [[8, 5], /its form cannot be: values is \[8,4\], must be \[8, 5\]/],
  ] as const) {
    const { error } = await refusal({
      async prune(problem, options) {
        const outcome = await methods.magnitude.prune(problem, options);
        return { ...outcome, form: denseLeaf(problem.backend.zeros([8, 4]), shape) };
      },
    });
    assert.match(error.message, message);
  }
});

test("a form that is not the one that the method promises is refused", async () => {
  const form = (shape: readonly [number, number]) => ({
    ...denseLeaf(undefined, shape),
    structure: { kind: "n:m", n: 2, m: 4 } as const,
  });
  for (const [given, message] of [
    [undefined, /it gave no form, must be 2:4 x f32/],
    ["dense", /its form is dense x f32, must be 2:4 x f32/],
  ] as const) {
    const { error } = await refusal({
      form,
      async prune(problem, options) {
        const outcome = await methods.magnitude.prune(problem, options);
        const { backend, weight } = problem;
        const shape = [rowsOf(weight), colsOf(weight)] as const;
        return given ? { ...outcome, form: denseLeaf(backend.zeros(shape), shape) } : outcome;
      },
    });
    assert.match(error.message, message);
  }
});

test("a layout whose entries and pack disagree is refused", () => {
  const weight = { weight: new Float32Array(8), rows: 2, cols: 4 };
  for (const [pack, what] of [
    [() => new Map(), /w|matrix\.weight\.inverted of other bytes than entries says/],
    [() => new Map([["matrix.weight.inverted", new Uint8Array(3)]]), /of other bytes than/],
  ] as const) {
    const layout = { ...parts.layout, pack };
    const plugins = [{ name: "acme", version: "1", layouts: [layout] }];
    assert.throws(() => packMatrix("inverted", { ...weight, plugins }), what);
  }
  const more = (...given: Parameters<typeof parts.layout.pack>) =>
    new Map(parts.layout.pack(...given)).set("more", new Uint8Array(1));
  const layout = { ...parts.layout, pack: more };
  const plugins = [{ name: "acme", version: "1", layouts: [layout] }];
  assert.throws(
    () => packMatrix("inverted", { ...weight, plugins }),
    /\[packMatrix\].*pack makes other tensors than entries says; mend the layout/,
  );
});

const { columnMaxima, outliers, maxima } = parts;
const MALFORMED: readonly [string, unknown, RegExp][] = [
  ["that are no list", parts, /^\[plugins\] they must be a list of plug-ins\.$/],
  ["of which one is a name", ["acme"], /^\[plugins\] string is no plug-in; give what definePlugin/],
  ["without a version", [{ name: "acme" }], /a plug-in has no name or no version; give it both/],
  [
    "with an unknown key",
    [{ name: "a", version: "1", method: [] }],
    /^\[plug-in a\].*did you mean "methods"/,
  ],
  [
    "with methods that are no list",
    [{ name: "a", version: "1", methods: outliers }],
    /methods must be a list/,
  ],
  [
    "with nothing for a method",
    [{ name: "a", version: "1", methods: [null] }],
    /holds null, which is no method/,
  ],
  [
    "with a method that cannot prune",
    [{ name: "a", version: "1", methods: [{ ...outliers, prune: 1 }] }],
    /^\[plug-in a\] prune of its method "outliers" is number, must be function\.$/,
  ],
  [
    "with a statistic that sees outputs",
    [{ name: "a", version: "1", statistics: [{ ...columnMaxima, sees: "output" }] }],
    /sees of its statistic "columnMaxima" is output, must be input or both or residual\.$/,
  ],
  [
    "with a statistic of both models that no rotation turns",
    [{ name: "a", version: "1", statistics: [{ ...columnMaxima, sees: "both" }] }],
    /its statistic "columnMaxima" sees both models' inputs, .*; give it turn or from\.$/,
  ],
  [
    "with a method of an odd name",
    [{ name: "a", version: "1", methods: [{ ...outliers, name: "a+pad" }] }],
    /its method is called "a\+pad"; use letters/,
  ],
  [
    "with a built-in name",
    [{ name: "a", version: "1", layouts: [{ ...layouts.dense }] }],
    /^\[plug-in a\] layouts has "dense", which is a name that penjing itself uses; give it another/,
  ],
  [
    "with the name of a backend's operation",
    [{ name: "a", version: "1", operations: [{ ...maxima, name: "gemm" }] }],
    /operations has "gemm", which is a name that penjing itself uses/,
  ],
  [
    "that have the same name",
    [
      { name: "a", version: "1" },
      { name: "a", version: "2" },
    ],
    /^\[plug-in a\] it is given twice; give it once\.$/,
  ],
  [
    "of which two bring the same",
    [
      { name: "a", version: "1", operations: [maxima] },
      { name: "b", version: "1", operations: [maxima] },
    ],
    /^\[plug-in b\] operations has "columnMaxima", which is a name that the plug-in a uses/,
  ],
];

for (const [what, plugins, message] of MALFORMED) {
  test(`plug-ins ${what} are refused`, async () => {
    assert.throws(
      () => openRegistry(plugins as Plugin[]),
      (error: unknown) => error instanceof PenjingError && message.test(error.message),
    );
    const error = await openModel("nowhere", { plugins: plugins as Plugin[] }).catch((e) => e);
    assert.instance(error, PenjingError);
  });
}

test("files that are no plug-ins are refused by the command line", async () => {
  const folder = mkdtempSync(join(tmpdir(), "penjing-kit-"));
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const none = /its default export is no plug-in and no list of them; export what definePlugin/;
  try {
    for (const [path, message] of [
      [join(folder, "missing.mjs"), /missing\.mjs\].*there is nothing at this path/],
      [write("broken.mjs", "export default {"), /it cannot be loaded as a module \(.*\); mend it/],
      [write("throws.mjs", "throw new Error('no');"), /cannot be loaded as a module \(no\)/],
      [write("empty.mjs", "export const a = 1;"), none],
      [write("text.mjs", "export default 'acme';"), none],
      [write("unnamed.mjs", "export default [{}];"), /a plug-in has no name or no version/],
    ] as const) {
      const error = await loadPlugins({ plugin: [path] }).catch((reason) => reason);
      assert.instance(error, PenjingError, path);
      assert.match(error.message, message);
      assert.not.match(error.message, /\n/);
    }
    const good = write("good.mjs", "export default [{ name: 'a', version: '1' }];");
    assert.equal(await loadPlugins({ plugin: [good] }), [{ name: "a", version: "1" }]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
