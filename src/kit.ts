/** For authors of methods, layouts and backends: all of `penjing`, and what computes. */
export type { Backend, Operations } from "./backend.js";
export * from "./index.js";
