import type { Backend, HostOperation, ServedOperation } from "../backend.js";
import { nearest, PenjingError } from "../errors.js";
import type { HostTensor, Tensor } from "../tensor.js";

/** `Backend.call` of backends that were given no operations. */
export async function refuseCall(name: string, ..._: readonly unknown[]): Promise<never> {
  return refuse(name, []);
}

function refuse(name: string, known: readonly string[]): never {
  const near = nearest(name, known);
  throw new PenjingError(
    "call",
    `no plug-in that was given has the operation "${name}"${near ? `; did you mean "${near}"?` : "; give the one that has it in `plugins`."}`,
  );
}

/** The same backend, which also runs operations of plug-ins. */
export function withOperations(
  backend: Backend,
  operations: Readonly<Record<string, HostOperation>>,
): Backend {
  if (Object.keys(operations).length === 0) return backend;
  const lines = new Map<string, ServedOperation & { calls: number }>();
  const added = {
    async call(name: string, ...args: unknown[]): Promise<unknown> {
      if (!Object.hasOwn(operations, name)) refuse(name, Object.keys(operations));
      const operation = operations[name];
      operation.check?.(...args);
      const line = lines.get(name) ?? { operation: name, servedBy: "plug-in", calls: 0 };
      lines.set(name, line);
      line.calls++;
      return runOnHost(backend, operation, args);
    },
    served: (): ServedOperation[] => [...backend.served(), ...lines.values()],
    ...(backend.another && {
      another: async () => withOperations(await backend.another!(), operations),
    }),
  };
  return Object.assign(Object.create(backend) as Backend, added);
}

async function runOnHost(
  backend: Backend,
  operation: HostOperation,
  args: readonly unknown[],
): Promise<unknown> {
  const copies = new Map<Tensor, HostTensor>();
  const onHost: unknown[] = [];
  for (const arg of args) {
    const isAway = isTensor(arg) && !("data" in arg);
    if (isAway && !copies.has(arg)) copies.set(arg, await copyOf(backend, arg));
    onHost.push(isAway ? copies.get(arg) : arg);
  }
  const result = await operation.run(...onHost);
  for (const at of operation.writes) {
    const copy = copies.get(args[at] as Tensor);
    if (copy) backend.write(args[at] as Tensor, copy.data);
  }
  return result;
}

function isTensor(arg: unknown): arg is Tensor {
  return typeof arg === "object" && arg !== null && "dtype" in arg && "shape" in arg;
}

async function copyOf(backend: Backend, tensor: Tensor): Promise<HostTensor> {
  const { dtype, shape, size } = tensor;
  const data = await backend.read(tensor);
  return { dtype, shape, size, data, dispose() {}, [Symbol.dispose]() {} };
}
