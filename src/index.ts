export type { Backend, Operations, ServedOperation } from "./backend.js";
export type { Workload } from "./backends/auto.js";
export { openBackend } from "./backends/index.js";
export type { BackendOptions } from "./backends/lease.js";
export type { Simd } from "./backends/wasm/module.js";
export type { WasmOptions } from "./backends/wasm/options.js";
export { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
export { loadTokenizer, type Tokenizer } from "./checkpoint/tokenizer.js";
export type { LayerReport } from "./compress/layer.js";
export type {
  FlatOverride,
  FlatRecipe,
  GivenRecipe,
  Recipe,
  RecipeStep,
  StepsRecipe,
} from "./compress/recipe.js";
export type { StepOverride, StepReach } from "./compress/transform.js";
export {
  type CompressEvent,
  type CompressOptions,
  type CompressResult,
  compress,
  describeRecipe,
  type RecipeDescription,
} from "./compress.js";
export { DeviceError, PenjingError } from "./errors.js";
export {
  type EvaluateEvent,
  type EvaluateOptions,
  evaluatePerplexity,
  type Perplexity,
} from "./evaluate.js";
export {
  type ExportEvent,
  type ExportOptions,
  type ExportResult,
  exportModel,
} from "./export.js";
export type { Form, Leaf, Numbers, Structure } from "./form.js";
export {
  type GenerateEvent,
  type GenerateOptions,
  type Generation,
  generate,
} from "./generate.js";
export { type InspectResult, inspect, type TensorReport } from "./inspect.js";
export { methods } from "./methods/index.js";
export { type OpenModel, type OpenModelOptions, openModel } from "./open-model.js";
export type { OptionSpec, OptionSpecs, OptionValue } from "./options.js";
export { type PackedTwoFour, packTwoFour, unpackTwoFour } from "./pack.js";
export {
  type Matrix,
  type MatrixDType,
  type MatrixPart,
  type PackedMatrix,
  type PackMatrixOptions,
  packMatrix,
  unpackMatrix,
} from "./pack-matrix.js";
export {
  createOutputFolder,
  type Folder,
  memoryFolder,
  memoryOutputFolder,
  type OutputFolder,
  openWorkFolder,
} from "./platform/files.js";
export {
  createOriginOutput,
  type DirectoryHandle,
  directoryFolder,
  type FileHandle,
  openOriginFolder,
  originDirectory,
  removeOriginFolder,
} from "./platform/origin-files.js";
export { memoryWorkFolder, type WorkFolder } from "./platform/work-folder.js";
export type { Plugin, PluginOptions } from "./plugin.js";
export { type PrunedLinear, type PruneLinearOptions, pruneLinear } from "./prune.js";
export type { Run } from "./run.js";
export { VERSION } from "./version.js";
