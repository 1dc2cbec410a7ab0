/** What is only there where files are opened by path: the bundles for browsers have none of it. */
export { openDiskOutput, partialPath, removePartial } from "./disk-output.js";
export { openDiskWork } from "./disk-work.js";
