import { Alarm, now } from './clock.ts';

/**
 * One round at a time, always toward the newest wish: however often wishes change, one round is under way and one is due. What is
 * due while `may` says no waits until it is asked for again, or for `resume`.
 */
export class Rounds {
  readonly #round: () => Promise<void>;
  readonly #may: () => boolean;
  #due = false;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(round: () => Promise<void>, may: () => boolean = () => true) {
    this.#round = round;
    this.#may = may;
  }

  /** The wish has changed. */
  due(): void {
    this.#due = true;
    this.resume();
  }

  /** `may` may say yes by now. */
  resume(): void {
    if (this.#goesOn) this.#running ??= this.#run();
  }

  /** Resolves when none is under way or due. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** What is due is not done; resolves when the one under way is. */
  async drop(): Promise<void> {
    this.#due = false;
    await this.#running;
  }

  /** No more of them; resolves when the one under way is done. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  get #goesOn(): boolean {
    return this.#due && !this.#closed && this.#may();
  }

  async #run(): Promise<void> {
    // What goes on in this turn is part of the first round.
    await Promise.resolve();
    try {
      while (this.#goesOn) {
        this.#due = false;
        await this.#round();
      }
    } finally {
      // In the turn of the last look at what is due: nothing can become due in between.
      this.#running = undefined;
    }
  }
}

/** Pause before somebody else's change is put right again, milliseconds. */
const CORRECTION_PAUSE = 1_000;

/** Puts right what somebody else changes: at once, and then once a second. */
export class Correction {
  readonly #correct: () => void;
  readonly #alarm = new Alarm(() => this.due());
  #last = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(correct: () => void) {
    this.#correct = correct;
  }

  due(): void {
    if (this.#closed) return;
    const next = this.#last + CORRECTION_PAUSE;
    if (now() < next) {
      this.#alarm.set(next);
      return;
    }
    this.#alarm.cancel();
    this.#last = now();
    this.#correct();
  }

  close(): void {
    this.#closed = true;
    this.#alarm.cancel();
  }
}
