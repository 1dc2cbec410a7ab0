import type { Operations } from "../../backend.js";
import { packGroups, unpackGroups } from "../../pack.js";
import { colsOf, f32, rowsOf, u8 } from "../../tensor.js";

export const packTwoFour: Operations["packTwoFour"] = async (w, values, indices) =>
  packGroups(f32(w), f32(values), u8(indices), rowsOf(w), colsOf(w));

export const unpackTwoFour: Operations["unpackTwoFour"] = (values, indices, w) =>
  unpackGroups(f32(values), u8(indices), f32(w), rowsOf(w), colsOf(w));
