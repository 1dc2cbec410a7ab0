import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { readRecipe } from "../src/compress/recipe.js";
import { methods } from "../src/methods/index.js";
import { BAD_RECIPES, BAD_TOGETHER } from "./bad-recipes.js";
import { isCurrent, recipeSchema } from "./docs/recipe-schema.js";
import { repositoryRoot } from "./shared.js";

const test = suite("recipe.schema.json");
const validate = new Ajv2020({ allowUnionTypes: true }).compile(recipeSchema());

function accepts(recipe: unknown): void {
  assert.ok(validate(recipe), `${JSON.stringify(recipe)}: ${JSON.stringify(validate.errors)}`);
}

test("it is what `npm run schema` makes", () => {
  assert.ok(isCurrent(), "recipe.schema.json is not up to date: run npm run schema");
});

test("it accepts the recipes of the documents, and so does readRecipe", () => {
  for (const name of ["README.md", join("docs", "methods.md")]) {
    const text = readFileSync(join(repositoryRoot, name), "utf8");
    const blocks = [...text.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, block]) => block);
    assert.ok(blocks.length > 0, name);
    for (const block of blocks) {
      accepts(parse(block));
      readRecipe(parse(block));
    }
  }
});

test("it accepts what readRecipe makes of every method, with and without steps", () => {
  for (const method of Object.keys(methods)) {
    for (const rotate of [undefined, { scope: "groups:2", objective: "wanda" as const }]) {
      const overrides = [
        { match: "*.0.*", options: {} },
        { match: "*", sparsity: "2:4" },
      ];
      const flat = { method, overrides, ...(rotate && { rotate }) };
      accepts(flat);
      accepts(readRecipe(flat));
    }
  }
  accepts({});
  accepts({ layout: "cutlass+pad", sparsity: 0.5, stream: "bf16" });
});

for (const [recipe, message] of BAD_RECIPES) {
  test(`it refuses ${JSON.stringify(recipe)}`, () => assert.not(validate(recipe), message.source));
}

test("what only readRecipe sees is no fault of a single field", () => {
  for (const [recipe] of BAD_TOGETHER) accepts(recipe);
});

test.run();
