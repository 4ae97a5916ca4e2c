/** The one monotonic clock, milliseconds; machines get its readings as `now`. */
export function now(): number {
  return performance.now();
}

/** A reading of `now` as microseconds since the epoch, as systemd's D-Bus properties have it; always the same for the same `at`. */
export function epochMicros(at: number): number {
  return Math.round((performance.timeOrigin + at) * 1000);
}

/** A reading of `now` as milliseconds since the epoch, and back: for what outlives the process. */
export function toEpoch(at: number): number {
  return Date.now() + (at - performance.now());
}

export function fromEpoch(milliseconds: number): number {
  return performance.now() + (milliseconds - Date.now());
}

/** setTimeout takes 31 bits; the longest timers of the protocols are shorter, a day is far enough to look again. */
const TIMEOUT_MAX = 24 * 3600 * 1000;

/** One timer that is moved about: the deadline of whatever is due next. */
export class Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** `deadline` on the clock of `now`; Infinity: never. */
  set(deadline: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (deadline === Number.POSITIVE_INFINITY) return;
    // Rounded up: a timer that rings too early would find nothing due.
    const wait = Math.min(TIMEOUT_MAX, Math.max(0, Math.ceil(deadline - now())));
    this.#timer = setTimeout(this.#ring, wait);
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}
