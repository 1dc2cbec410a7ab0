/** For authors of plug-ins: methods, layouts, model families, statistics and operations. */
export type {
  Backend,
  HostOperation,
  OperationName,
  Operations,
  PreparedMatrix,
  ServedOperation,
  Weight,
} from "./backend.js";
export { DTYPE_BYTES, fromFloat32, toFloat32 } from "./checkpoint/dtype.js";
export { ConfigReader } from "./config-reader.js";
export { decode } from "./decode.js";
export { DeviceError, PenjingError } from "./errors.js";
export {
  type FloatName,
  type Form,
  formOf,
  type Leaf,
  leavesOf,
  type MatrixShape,
  type Numbers,
  partsIn,
  type Structure,
} from "./form.js";
export { blocksLeaf, denseLeaf, describe, twoFourLeaf } from "./forms/leaf.js";
export { shapeOf } from "./forms/shape.js";
export type { FinishedTensor, Layout, TensorEntry, WeightFacts } from "./layout.js";
export { checkLayout } from "./layout-check.js";
export { keepBest, type SelectionScope } from "./mask.js";
export type { Importance, LinearProblem, Method, PruneOutcome } from "./method.js";
export { thinCurve } from "./method.js";
export type {
  AttentionSpec,
  Axis,
  BlockSpec,
  BranchSpec,
  DecoderSpec,
  FusedAttentionSites,
  GatedMlpSpec,
  LayerSpec,
  LinearSource,
  LongRope,
  MlpSpec,
  ModelFamily,
  NormSpec,
  RopeSpec,
  Site,
  TensorNames,
} from "./model.js";
export { sitesOf } from "./model.js";
export type { ActivationRule } from "./models/families/parts/checks.js";
export { type ClassicOptions, classicDecoder } from "./models/families/parts/classic-decoder.js";
export {
  type LlamaBlockOptions,
  llamaBlock,
  type NormNames,
} from "./models/families/parts/llama-block.js";
export {
  type FamilyTraits,
  noWindows,
  readDecoder,
  upperLayerWindows,
} from "./models/families/parts/llama-config.js";
export { type RopeOptions, readRope } from "./models/families/parts/rope-config.js";
export { type AttentionOptions, attention } from "./models/layers/attention.js";
export { type GatedMlpOptions, gatedMlp } from "./models/layers/gated-mlp.js";
export { type MlpOptions, mlp } from "./models/layers/mlp.js";
export type {
  ChoiceSpec,
  FlagSpec,
  NumberSpec,
  OptionSpec,
  OptionSpecs,
  OptionsOf,
  OptionValue,
  SparsitySpec,
  TextSpec,
} from "./options.js";
export { resolveOptions } from "./options.js";
export { checkOutcome } from "./outcome.js";
export { definePlugin, type Plugin, type PluginOptions } from "./plugin.js";
export type { PluginId } from "./plugin-id.js";
export { Random } from "./random.js";
export { pacer, pause } from "./run.js";
export type { Keeper, Snapshot } from "./snapshot.js";
export { formatSparsity, parseSparsity, removedCount, type Sparsity } from "./sparsity.js";
export type { InputTurn, Residual, Statistic, Statistics } from "./statistic.js";
export { operationSteps, type Work, type WorkSteps } from "./steps.js";
export {
  colsOf,
  f32,
  type HostTensor,
  i32,
  rowsOf,
  type StoredDType,
  sizeOf,
  type Tensor,
  type TensorData,
  type TensorDType,
  u8,
  u16,
} from "./tensor.js";
