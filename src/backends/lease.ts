import { type Arguments, BACKEND } from "../arguments.js";
import type {
  Backend,
  HostOperation,
  MemoryUse,
  OpenBackend,
  ServedOperation,
} from "../backend.js";
import { DeviceError } from "../errors.js";
import { type Choice, openAuto, type Workload } from "./auto.js";
import { heeding, orAborted } from "./heed.js";
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

/**
 * The backend of a piece of work: the caller's own, or one that is opened by name. Where `auto`
 * chose a GPU, the work can move to wasm when the GPU fails.
 */
export class Lease {
  /** What backends before the present one served. */
  private readonly earlier: ServedOperation[] = [];
  private earlierPeak = 0;
  private names: string;
  private isOpen = true;

  private constructor(
    private present: Backend,
    private reason: string,
    /** Whether `auto` chose. */
    readonly isAuto: boolean,
    private readonly isOwned: boolean,
    private readonly operations: Operations,
    /** For a move to wasm. */
    private readonly wasm: WasmOptions,
    signal: AbortSignal | undefined,
    /** A sentence for the user about the choice, if there is something to say. */
    readonly note?: string,
  ) {
    this.names = present.name;
    this.present = withOperations(heeding(present, signal), operations);
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
    if (typeof wanted !== "string") {
      return new Lease(
        wanted as Backend,
        "the caller's own",
        false,
        false,
        operations,
        wasm,
        signal,
      );
    }
    const isAuto = wanted === "auto";
    const opening: Promise<Choice> = isAuto
      ? openAuto(work, wasm)
      : openBackend(wanted, wasm).then((backend) => ({ backend, reason: "asked for" }));
    try {
      const { backend, reason, note } = await (signal ? orAborted(opening, signal) : opening);
      return new Lease(backend, reason, isAuto, true, operations, wasm, signal, note);
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
    this.earlier.push(...this.linesOf(this.present));
    this.earlierPeak = this.present.memory().peak;
    this.present.dispose();
    this.present = withOperations(await openWasm(this.wasm), this.operations);
    this.names = `${this.names}, then wasm`;
    const [cause] = error.bare.split(";");
    this.reason = `auto: after the GPU failed (${cause.replace(/\.$/, "")})`;
    return `${cause.replace(/\.$/, "")}; the work goes on on wasm.`;
  }

  private linesOf(backend: Backend): ServedOperation[] {
    return backend.served().map((line) => ({ ...line, reason: line.reason ?? this.reason }));
  }

  /** Which backend served what, and why. */
  served(): readonly ServedOperation[] {
    return [...this.earlier, ...this.linesOf(this.present)];
  }

  memory(): MemoryUse {
    const { live, peak } = this.present.memory();
    return { live, peak: Math.max(peak, this.earlierPeak) };
  }

  /** Frees a backend that was opened here. */
  dispose(): void {
    if (this.isOwned && this.isOpen) this.present.dispose();
    this.isOpen = false;
  }
}
