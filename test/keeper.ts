import { decodeSnapshot, encodeSnapshot, type Keeper } from "../src/snapshot.js";

/** A keeper in memory that keeps every state, and can tell when it kept the n-th. */
export function memoryKeeper(onSave: (count: number) => void = () => {}): Keeper {
  let kept: Uint8Array | undefined;
  let count = 0;
  return {
    load: async () => kept && decodeSnapshot(kept, "memory"),
    isDue: () => true,
    async save(snapshot) {
      kept = encodeSnapshot(snapshot);
      onSave(++count);
    },
  };
}
