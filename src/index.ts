export type { MemoryUse, OpenBackend, ServedOperation } from "./backend.js";
export type { Workload } from "./backends/auto.js";
export type { BackendName } from "./backends/index.js";
export type { BackendOptions } from "./backends/lease.js";
export type { Simd } from "./backends/wasm/module.js";
export type { WasmOptions } from "./backends/wasm/options.js";
export type { BesideFiles } from "./checkpoint/beside.js";
export type { CastDType } from "./checkpoint/cast.js";
export {
  type ChatMessage,
  type ChatTemplate,
  loadChatTemplate,
  type RenderOptions,
} from "./checkpoint/chat-template.js";
export {
  type Checkpoint,
  type CheckpointOrigin,
  type CheckpointTensor,
  type OpenCheckpointOptions,
  openCheckpoint,
} from "./checkpoint/checkpoint.js";
export type { TokenizerOptions } from "./checkpoint/overlay.js";
export type { TensorInfo } from "./checkpoint/safetensors.js";
export type { Encoding } from "./checkpoint/tokenizer/pipeline.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  type LoadTokenizerOptions,
  loadTokenizer,
  type Tokenizer,
} from "./checkpoint/tokenizer.js";
export type { Totals } from "./compress/output.js";
export type {
  FlatOverride,
  FlatRecipe,
  GivenRecipe,
  MethodDescription,
  Recipe,
  RecipeStep,
  StepsRecipe,
} from "./compress/recipe.js";
export type { LayerReport } from "./compress/solve.js";
export type { StepOverride, StepReach } from "./compress/transform.js";
export {
  type CompressEvent,
  type CompressOptions,
  type CompressResult,
  compress,
  describeRecipe,
  type RecipeDescription,
} from "./compress.js";
export {
  type Dataset,
  type DatasetFormat,
  type OpenDatasetOptions,
  openDataset,
} from "./datasets/dataset.js";
export type { DatasetDocument } from "./datasets/document.js";
export {
  type CacheFinding,
  type Diagnosis,
  type DiskFinding,
  type DoctorEvent,
  type DoctorOptions,
  doctor,
  type Finding,
  type Findings,
  type HubFinding,
  type Mark,
  type MemoryFinding,
  type PackagesFinding,
  type ProcessorFinding,
  type RuntimeFinding,
  type SimdFinding,
  type SpeedFinding,
  type WebGpuFinding,
} from "./doctor.js";
export { DeviceError, PenjingError } from "./errors.js";
export type { Evaluation } from "./evaluate/evaluation.js";
export type { BlockEvent, Comparison, Score, WindowEvent } from "./evaluate/score.js";
export type { EvaluationSource, TextFacts } from "./evaluate/text.js";
export {
  type EvaluateEvent,
  type EvaluateOptions,
  evaluatePerplexity,
  type Perplexity,
} from "./evaluate.js";
export {
  type Accuracy,
  type AnswerStore,
  type EvaluateTasksEvent,
  type EvaluateTasksOptions,
  evaluateTasks,
  type Flips,
  type Likelihood,
  type TaskDefinition,
  type TaskMetric,
  type TaskScore,
  type TaskScores,
} from "./evaluate-tasks.js";
export type { GgufOptions } from "./export/gguf-options.js";
export {
  type ExportEvent,
  type ExportOptions,
  type ExportResult,
  exportModel,
} from "./export.js";
export type { FloatName, KTypeName, Leaf, MatrixShape, Numbers, Structure } from "./form.js";
export type { Activations } from "./forms/integer.js";
export type { GeneratedText, StoppedBy } from "./generate/continuation.js";
export type { HowGenerated, Note } from "./generate/texts.js";
export {
  type GenerateEvent,
  type GenerateOptions,
  type Generation,
  generate,
} from "./generate.js";
export {
  type BatchGeneration,
  type GenerateBatchEvent,
  type GenerateBatchOptions,
  generateBatch,
} from "./generate-batch.js";
export {
  type DownloadEvent,
  type DownloadedModel,
  downloadModel,
  type HubAccess,
  type HubOptions,
  openHubFolder,
} from "./hub.js";
export {
  type ImportanceMatrixEvent,
  type ImportanceMatrixOptions,
  type ImportanceMatrixResult,
  importanceMatrix,
} from "./importance-matrix.js";
export {
  type InspectEvent,
  type InspectOptions,
  type InspectResult,
  inspect,
  type TensorReport,
} from "./inspect.js";
export type { LayoutName } from "./layouts/index.js";
export type { DensePeer } from "./layouts/two-four-int.js";
export type { MethodName } from "./methods/index.js";
export type { RoundedActivations } from "./models/activations.js";
export type { BosMode } from "./models/bos.js";
export { describeModel, type ModelDescription } from "./models/describe.js";
export type { KvCache } from "./models/layers/key-value-cache.js";
export { type OpenModel, type OpenModelOptions, openModel } from "./models/open.js";
export type { StoredBits } from "./models/stored-bits.js";
export type { FormTree } from "./models/stored-forms.js";
export { type OpenBackendOptions, openBackend } from "./open-backend.js";
export type {
  ChoiceSpec,
  FlagSpec,
  GivenOptions,
  NumberSpec,
  OptionDescription,
  OptionSpec,
  OptionSpecs,
  OptionsOf,
  OptionValue,
  SparsitySpec,
  TextSpec,
} from "./options.js";
export { type PackedTwoFour, packTwoFour, unpackTwoFour, type WeightArray } from "./pack.js";
export {
  type Matrix,
  type MatrixDType,
  type MatrixPart,
  type PackedMatrix,
  type PackMatrixOptions,
  packMatrix,
  unpackMatrix,
} from "./pack-matrix.js";
export { type Plan, type PlannedPhase, type PlanOptions, plan } from "./plan.js";
export {
  type ByteSink,
  type ByteSource,
  createOutputFolder,
  type DiscardOptions,
  type Folder,
  type LinkTarget,
  type MemoryOutputFolder,
  memoryFolder,
  memoryOutputFolder,
  type OutputFolder,
  type OutputFolderOptions,
  openWorkFolder,
} from "./platform/files.js";
export type { MachineMemory } from "./platform/memory.js";
export {
  createOriginOutput,
  type DirectoryHandle,
  directoryFolder,
  type FileHandle,
  type FileWritable,
  openOriginFolder,
  originDirectory,
  removeOriginFolder,
  type SyncFileAccess,
} from "./platform/origin-files.js";
export { memoryWorkFolder, type WorkFolder } from "./platform/work-folder.js";
export type { PluginOptions } from "./plugin.js";
export type { PluginId } from "./plugin-id.js";
export { type PrunedLinear, type PruneLinearOptions, pruneLinear } from "./prune.js";
export type { QuantizerName } from "./quantizers/index.js";
export {
  type PublishedPoint,
  type Report,
  type ReportData,
  type ReportFigure,
  type ReportOptions,
  type ReportTable,
  report,
} from "./report.js";
export type { Run } from "./run.js";
export type { SamplingOptions } from "./sample.js";
export type { SparsityText } from "./sparsity.js";
export type { StoredDType, Tensor, TensorDType } from "./tensor.js";
export type { TokenizeEvent } from "./text.js";
export { VERSION } from "./version.js";
