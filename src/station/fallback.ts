import type { RelayState } from '../model.ts';

/** Milliseconds without relay until slaves are switched; relay that comes back ends it at once. */
const HOLD_DOWN = 5_000;

/**
 * `when-relay-refused: bridge`: whether the slaves of an uplink shall reach each other on their own, because the bridge has said
 * that it cannot reflect, or there has been none, for five seconds. A bridge that is still at it is waited for.
 */
export class Fallback {
  #since: number | undefined;
  #active = false;

  /** The slaves shall be in bridge mode. */
  get active(): boolean {
    return this.#active;
  }

  /** `enabled`: the configuration asks for it. True when `active` has changed. */
  observe(enabled: boolean, relay: RelayState, now: number): boolean {
    const before = this.#active;
    const without = enabled && (relay === 'refused' || relay === 'no-peer');
    if (!without) this.#since = undefined;
    else this.#since ??= now;
    // Relay that is merely not there yet does not send the slaves back: they would reach nobody.
    if (!enabled || relay === 'active' || relay === 'assumed' || relay === 'off') this.#active = false;
    else if (now >= this.nextDeadline()) this.#active = true;
    return this.#active !== before;
  }

  /** Continues what an earlier run had switched. */
  resume(): void {
    this.#active = true;
  }

  nextDeadline(): number {
    if (this.#since === undefined || this.#active) return Number.POSITIVE_INFINITY;
    return this.#since + HOLD_DOWN;
  }
}
