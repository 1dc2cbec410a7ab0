/** Operations that have no kernel: the reference computes them. Its others are loaded when it is opened. */
export { selectPerMatrix, selectPerRow } from "../reference/mask.js";
export { addDiagonal, diagonal, rowSquares, scale, scaleColumns } from "../reference/scale.js";
