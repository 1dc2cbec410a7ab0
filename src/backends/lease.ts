import { type Arguments, BACKEND } from "../arguments.js";
import type {
  Backend,
  HostOperation,
  MemoryUse,
  OpenBackend,
  ServedOperation,
} from "../backend.js";
import { DeviceError } from "../errors.js";
import { orAborted } from "../run.js";
import { type Choice, openAuto, type Workload } from "./auto.js";
import { heeding } from "./heed.js";
import { type BackendName, openBackend } from "./index.js";
import { withOperations } from "./plugged.js";
import { checkWasmOptions, WASM_ARGUMENTS, type WasmOptions } from "./wasm/options.js";
import { openWasm } from "./wasm.js";

/** Which backend a call runs on. */
export interface BackendOptions extends WasmOptions {
  /**
   * A backend that is open, or the name of one to open for this call. "auto" takes a GPU for models
   * with a weight of 2^20 elements or more, and wasm otherwise or when the GPU fails. `threads` and
   * `simd` are those of a wasm backend that the call opens. @default "auto"
   */
  readonly backend?: BackendName | OpenBackend | undefined;
}

/** Those options, for the lists of what a call takes. */
export const BACKEND_ARGUMENTS: Arguments<BackendOptions> = {
  backend: BACKEND,
  ...WASM_ARGUMENTS,
};

type Operations = Readonly<Record<string, HostOperation>>;

/** What a lease is made with, beside its backend. */
interface Terms {
  /** Whether `auto` chose. */
  readonly isAuto: boolean;
  /** Whether it was opened for the lease. */
  readonly isOwned: boolean;
  readonly operations: Operations;
  /** For a move to wasm. */
  readonly wasm: WasmOptions;
  readonly signal: AbortSignal | undefined;
}

/**
 * The backend of a piece of work: the caller's own, or one that is opened by name. Where `auto`
 * chose a GPU, the work can move to wasm when the GPU fails.
 */
export class Lease {
  /** What backends before the present one served. */
  private readonly earlier: ServedOperation[] = [];
  private earlierPeak = 0;
  private present: Backend;
  /** Opened beside the present one. */
  private others: Backend[] = [];
  private reason: string;
  private names: string;
  private isOpen = true;
  /** A sentence for the user about the choice, if there is something to say. */
  readonly note: string | undefined;

  private constructor(
    { backend, reason, note }: Choice,
    private readonly terms: Terms,
  ) {
    this.present = withOperations(heeding(backend, terms.signal), terms.operations);
    this.reason = reason;
    this.names = backend.name;
    this.note = note;
  }

  /** Whether `auto` chose the backend. */
  get isAuto(): boolean {
    return this.terms.isAuto;
  }

  /**
   * @param options what the caller's caller asked for
   * @param operations those of plug-ins. @default none
   * @param signal ends the opening, and later the waiting for a GPU
   * @throws PenjingError for an unknown name, or when a named backend cannot run here; the signal's
   *   reason when it was aborted
   */
  static async open(
    options: BackendOptions,
    work: Workload,
    operations: Operations = {},
    signal?: AbortSignal,
  ): Promise<Lease> {
    const { backend: wanted = "auto", threads, simd } = options;
    const wasm = { threads, simd };
    checkWasmOptions(wasm);
    const isAuto = wanted === "auto";
    const terms = { isAuto, isOwned: typeof wanted === "string", operations, wasm, signal };
    if (typeof wanted !== "string") {
      return new Lease({ backend: wanted as Backend, reason: "the caller's own" }, terms);
    }
    const opening: Promise<Choice> = isAuto
      ? openAuto(work, wasm)
      : openBackend(wanted, wasm).then((backend) => ({ backend, reason: "asked for" }));
    try {
      return new Lease(await orAborted(opening, signal), terms);
    } catch (error) {
      // Where the wait was left, nobody else will.
      if (signal?.aborted) opening.then(({ backend }) => backend.dispose()).catch(() => {});
      throw error;
    }
  }

  /** Whether a failure of the backend can be survived. */
  get canMove(): boolean {
    return this.isAuto && this.present.name === "webgpu";
  }

  get backend(): Backend {
    return this.present;
  }

  /** The backend's name, with those before it, as in "webgpu, then wasm". */
  get name(): string {
    return this.names;
  }

  /**
   * Moves to wasm after work on the GPU threw. Tensors on the backend before are gone.
   *
   * @returns a sentence for the user
   * @throws the error itself when it is not the GPU's, or the backend was not chosen by `auto`
   */
  async moveAfter(error: unknown): Promise<string> {
    if (!this.canMove || !(error instanceof DeviceError)) throw error;
    this.earlierPeak = this.memory().peak;
    this.earlier.push(...this.lines());
    this.closeOthers();
    this.present.dispose();
    this.present = withOperations(await openWasm(this.terms.wasm), this.terms.operations);
    this.names = `${this.names}, then wasm`;
    const [cause] = error.bare.split(";");
    this.reason = `auto: after the GPU failed (${cause.replace(/\.$/, "")})`;
    return `${cause.replace(/\.$/, "")}; the work goes on on wasm.`;
  }

  /**
   * Opens a backend of the same kind beside the present one, for what one memory does not hold. It is freed
   * with the lease, or when the work moves.
   *
   * @returns undefined where one memory holds all that there is
   */
  async another(): Promise<Backend | undefined> {
    const opened = await this.present.another?.();
    if (opened) this.others.push(opened);
    return opened;
  }

  private closeOthers(): void {
    for (const other of this.others) other.dispose();
    this.others = [];
  }

  /** The present one, and those beside it. */
  private get all(): readonly Backend[] {
    return [this.present, ...this.others];
  }

  private lines(): ServedOperation[] {
    const lines = this.all.flatMap((backend) => backend.served());
    return joinLines(lines).map((line) => ({ ...line, reason: line.reason ?? this.reason }));
  }

  /** Which backend served what, and why. */
  served(): readonly ServedOperation[] {
    return [...this.earlier, ...this.lines()];
  }

  /** Of all its backends together; the sum of their peaks may be more than there ever was. */
  memory(): MemoryUse {
    const uses = this.all.map((backend) => backend.memory());
    const sum = (key: keyof MemoryUse) => uses.reduce((all, use) => all + use[key], 0);
    return { live: sum("live"), peak: Math.max(sum("peak"), this.earlierPeak) };
  }

  /** Frees a backend that was opened here. */
  dispose(): void {
    if (this.isOpen) this.closeOthers();
    if (this.terms.isOwned && this.isOpen) this.present.dispose();
    this.isOpen = false;
  }
}

/** One line in the place of those that differ in their calls alone. */
function joinLines(lines: readonly ServedOperation[]): ServedOperation[] {
  const joined = new Map<string, ServedOperation>();
  for (const { calls, copiedBytes, ...rest } of lines) {
    const key = JSON.stringify(rest);
    const before = joined.get(key);
    const bytes =
      copiedBytes === undefined ? {} : { copiedBytes: copiedBytes + (before?.copiedBytes ?? 0) };
    joined.set(key, { ...rest, calls: calls + (before?.calls ?? 0), ...bytes });
  }
  return [...joined.values()];
}
