import { prune } from "./prune.js";
import { rotate } from "./rotate.js";

/** Every kind of step by name. */
export const transforms = { rotate, prune };
