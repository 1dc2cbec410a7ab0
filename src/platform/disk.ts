/** What is only there where files are opened by path: the bundles for browsers have none of it. */
export { openDiskFiles } from "./disk-files.js";
export { openDiskOutput, partialPath, removePartial } from "./disk-output.js";
export { openDiskWork } from "./disk-work.js";
