import { paceSteps, type WorkSteps } from "../steps.js";

/** Takes the steps of several callers in turn, until it is ended. */
export class Turns {
  /** Resolves when the last that came has taken its steps. */
  private free: Promise<void> = Promise.resolve();
  private ended: Error | undefined;

  /**
   * Takes steps, letting timers run in between; other callers' wait until all are taken.
   *
   * @throws the signal's reason within 100 ms or so of its abort; what `end` was given
   */
  take(steps: WorkSteps, signal: AbortSignal | undefined): Promise<void> {
    const look = () => {
      if (this.ended) throw this.ended;
    };
    const done = this.free.then(() => {
      signal?.throwIfAborted();
      look();
      return paceSteps(steps, signal, look);
    });
    this.free = done.catch(() => {});
    return done;
  }

  /** From now on no step is taken: whoever waits, comes, or is between two of them is refused with `why`. */
  end(why: Error): void {
    this.ended = why;
  }
}
