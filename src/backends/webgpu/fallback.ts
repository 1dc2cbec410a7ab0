import type { Backend, MemoryUse, OperationName, Operations } from "../../backend.js";
import { BYTES_PER_ELEMENT, type Tensor } from "../../tensor.js";
import { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

type AnyOperation = (...args: unknown[]) => unknown;

/**
 * The arguments of each operation that it writes, and whether it resolves to something. Operations
 * on packed matrices have no host twin: their matrices live on the device.
 */
const HOST: {
  readonly [Name in OperationName]?: { readonly writes: readonly number[]; readonly waits?: true };
} = {
  armorOpen: { writes: [], waits: true },
  armorAdvance: { writes: [], waits: true },
  armorRead: { writes: [1] },
  armorSave: { writes: [], waits: true },
  armorLoad: { writes: [] },
};

/** Calls `use` for every tensor of an argument: itself, or the fields of an object. */
function replaceTensors(argument: unknown, use: (tensor: GpuTensor) => Tensor): unknown {
  if (argument instanceof GpuTensor) return use(argument);
  if (typeof argument !== "object" || argument === null) return argument;
  const isPlain = Object.getPrototypeOf(argument) === Object.prototype;
  if (!isPlain || !Object.values(argument).some((value) => value instanceof GpuTensor)) {
    return argument;
  }
  return Object.fromEntries(
    Object.entries(argument).map(([key, value]) => [
      key,
      value instanceof GpuTensor ? use(value) : value,
    ]),
  );
}

/** Operations without a shader: each downloads its operands, runs on a host backend and uploads. */
export class Fallback {
  /** Bytes copied in both directions, by operation. */
  readonly copied = new Map<OperationName, number>();
  private opened: Promise<Backend> | undefined;
  private host: Backend | undefined;
  /** Bytes of operands that the host has copies of while an operation runs. */
  private twinBytes = 0;

  constructor(
    private readonly stream: Stream,
    private readonly open: () => Promise<Backend>,
  ) {}

  operations(): Partial<Operations> {
    const table: Partial<Record<OperationName, AnyOperation>> = {};
    for (const [key, { writes, waits }] of Object.entries(HOST)) {
      const name = key as OperationName;
      table[name] = (...args) => {
        for (const argument of args) {
          replaceTensors(argument, (tensor) => {
            tensor.requireLive();
            return tensor;
          });
        }
        const run = () => this.run(name, args, writes);
        if (waits) return this.stream.afterwards(run);
        this.stream.eventually(async () => {
          await run();
        });
      };
    }
    return table as Partial<Operations>;
  }

  private async run(
    name: OperationName,
    args: readonly unknown[],
    writes: readonly number[],
  ): Promise<unknown> {
    const { stream } = this;
    this.opened ??= this.open();
    const host = await this.opened;
    this.host = host;
    const twins = new Map<GpuTensor, Tensor>();
    const written = new Set<GpuTensor>();
    let bytes = 0;
    const twin = (tensor: GpuTensor) => {
      let copy = twins.get(tensor);
      if (!copy) {
        copy = host.zeros(tensor.shape, tensor.dtype);
        this.twinBytes += tensor.bytes;
        twins.set(tensor, copy);
      }
      return copy;
    };
    try {
      const hostArgs = args.map((argument, i) =>
        replaceTensors(argument, (tensor) => {
          if (writes.includes(i)) written.add(tensor);
          return twin(tensor);
        }),
      );
      for (const [tensor, copy] of twins) {
        host.write(copy, await stream.readNow(tensor));
        bytes += tensor.size * BYTES_PER_ELEMENT[tensor.dtype];
      }
      const result = await (host.ops[name] as AnyOperation)(...hostArgs);
      for (const tensor of written) {
        stream.writeNow(tensor, await host.read(twin(tensor)));
        bytes += tensor.size * BYTES_PER_ELEMENT[tensor.dtype];
      }
      this.copied.set(name, (this.copied.get(name) ?? 0) + bytes);
      return result;
    } finally {
      for (const [tensor, copy] of twins) {
        this.twinBytes -= tensor.bytes;
        copy.dispose();
      }
    }
  }

  /** What the host backend holds: states that stay there; its peak counts copies of operands too. */
  memory(): MemoryUse {
    const { live, peak } = this.host?.memory() ?? { live: 0, peak: 0 };
    return { live: live - this.twinBytes, peak };
  }

  /** Frees the host backend, once it is open. */
  dispose(): void {
    void this.opened?.then((host) => host.dispose());
  }
}
