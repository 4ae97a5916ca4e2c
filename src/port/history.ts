import type { VsiState } from '../model.ts';

export interface Transition {
  /** Milliseconds of the monotonic clock. */
  at: number;
  state: VsiState;
  reason: string;
}

const KEPT = 32;

/** The last transitions of a VSI, each with its reason; the newest last. */
export class History {
  readonly transitions: Transition[] = [];

  get last(): Transition | undefined {
    return this.transitions.at(-1);
  }

  /** False when nothing changed. A new reason for the same state replaces the reason and keeps the time. */
  note(state: VsiState, reason: string, now: number): boolean {
    const last = this.last;
    if (last?.state === state) {
      if (last.reason === reason) return false;
      last.reason = reason;
      return true;
    }
    this.transitions.push({ at: now, state, reason });
    if (this.transitions.length > KEPT) this.transitions.shift();
    return true;
  }
}
