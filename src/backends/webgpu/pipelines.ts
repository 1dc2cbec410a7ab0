import { DeviceError } from "../../errors.js";
import { GPU_COPY_DST, GPU_UNIFORM } from "./buffers.js";
import type { Gpu } from "./device.js";
import { bindingsOf, type Constants, shaderText } from "./shader-text.js";

/** Bytes of one dispatch's parameters; also what dynamic uniform offsets are aligned to. */
export const PARAMETER_BYTES = 256;

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** How bindings from 1 on are used. */
  readonly modes: readonly ("read" | "read_write")[];
  /** Modes as a word, which tells layouts apart. */
  readonly signature: string;
}

/** All threads of a subgroup follow the same path, which a compiler cannot see by itself. */
const SUBGROUP_HEAD = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);";

const COMPUTE_STAGE = 4;

/** Compiled shaders of a device, by name and constants. */
export class Pipelines {
  private readonly made = new Map<string, Pipeline>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();

  constructor(private readonly gpu: Gpu) {}

  get(shader: string, constants: Constants = {}): Pipeline {
    let key = shader;
    for (const name in constants) key += `,${name}=${constants[name]}`;
    let pipeline = this.made.get(key);
    if (!pipeline) {
      pipeline = this.compile(shader, constants, key);
      this.made.set(key, pipeline);
    }
    return pipeline;
  }

  private layout(modes: Pipeline["modes"], signature: string): GPUBindGroupLayout {
    let layout = this.layouts.get(signature);
    if (!layout) {
      const buffers: GPUBufferBindingLayout[] = [
        { type: "uniform", hasDynamicOffset: true, minBindingSize: PARAMETER_BYTES },
        ...modes.map((mode) => ({
          type: mode === "read" ? ("read-only-storage" as const) : ("storage" as const),
        })),
      ];
      layout = this.gpu.device.createBindGroupLayout({
        entries: buffers.map((buffer, binding) => ({ binding, visibility: COMPUTE_STAGE, buffer })),
      });
      this.layouts.set(signature, layout);
    }
    return layout;
  }

  private compile(shader: string, constants: Constants, key: string): Pipeline {
    const { gpu } = this;
    const { device } = gpu;
    const text = shaderText(shader, {
      ...constants,
      SUBGROUPS: constants.SUBGROUPS ?? gpu.hasSubgroups,
      F16: gpu.hasHalf,
      DOT4: gpu.hasDot4,
    });
    const code = [
      ...(text.includes("subgroup") ? [SUBGROUP_HEAD] : []),
      ...(/\bf16\b/.test(text) ? ["enable f16;"] : []),
      text,
    ].join("\n");
    const modes = bindingsOf(text);
    const signature = modes.map((mode) => (mode === "read" ? "r" : "w")).join("");
    const layout = this.layout(modes, signature);
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code, label: key });
    const pipeline = device.createComputePipeline({
      label: key,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    });
    const check = async () => {
      const error = await device.popErrorScope();
      if (!error) return;
      const { messages } = await module.getCompilationInfo();
      const [first] = messages.filter(({ type }) => type === "error");
      const [reason] = (first?.message ?? error.message).split("\n");
      const line = first ? `, line ${first.lineNum}` : "";
      // Before the errors that follow from it.
      gpu.errors.unshift(
        new DeviceError(
          `${gpu.adapterName} cannot compile shader ${key}${line} (${reason}); use \`backend: wasm\`, or another driver.`,
        ),
      );
    };
    const checked: Promise<void> = check().finally(() => gpu.compiling.delete(checked));
    gpu.compiling.add(checked);
    return { pipeline, layout, modes, signature };
  }
}

const SLOTS = 512;

/** Parameters of the dispatches of one submission, written to the device just before it. */
export class ParameterRing {
  readonly buffer: GPUBuffer;
  private readonly words = new Uint32Array((SLOTS * PARAMETER_BYTES) / 4);
  private used = 0;

  constructor(private readonly device: GPUDevice) {
    this.buffer = device.createBuffer({
      size: SLOTS * PARAMETER_BYTES,
      usage: GPU_UNIFORM | GPU_COPY_DST,
    });
  }

  get isFull(): boolean {
    return this.used === SLOTS;
  }

  /** @returns the byte offset of the parameters */
  add(parameters: readonly number[]): number {
    const at = this.used++ * PARAMETER_BYTES;
    this.words.set(parameters, at / 4);
    return at;
  }

  write(): void {
    if (this.used === 0) return;
    const words = (this.used * PARAMETER_BYTES) / 4;
    this.device.queue.writeBuffer(this.buffer, 0, this.words, 0, words);
    this.used = 0;
  }

  dispose(): void {
    this.buffer.destroy();
  }
}

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

/** A float32 parameter, as the word that a shader's f32 field reads. */
export function float(x: number): number {
  number[0] = x;
  return bits[0];
}
