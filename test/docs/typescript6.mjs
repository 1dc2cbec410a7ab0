// node --import ./test/docs/typescript6.mjs node_modules/typedoc/bin/typedoc
//
// Gives typedoc the TypeScript that it knows, beside the newer one that compiles penjing.
import { register } from "node:module";

const hooks = `
export function resolve(specifier, context, next) {
  const isTypedoc = /node_modules\\/typedoc\\//.test(context.parentURL ?? "");
  return next(isTypedoc && specifier === "typescript" ? "@typescript/typescript6" : specifier, context);
}`;

register(`data:text/javascript,${encodeURIComponent(hooks)}`);
