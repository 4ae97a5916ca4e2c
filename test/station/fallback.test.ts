import { describe, expect, it } from 'vitest';
import type { RelayState } from '../../src/model.ts';
import { Fallback } from '../../src/station/fallback.ts';

/** What is observed at which time, and whether the slaves are in bridge mode then. */
function history(...observed: [at: number, relay: RelayState, enabled?: boolean][]): boolean[] {
  const fallback = new Fallback();
  return observed.map(([at, relay, enabled = true]) => {
    fallback.observe(enabled, relay, at);
    return fallback.active;
  });
}

describe('when-relay-refused: bridge', () => {
  it.each(['refused', 'no-peer'] as const)('%s for five seconds', (relay) => {
    expect(history([0, relay], [4_999, relay], [5_000, relay])).toEqual([false, false, true]);
  });

  it('one reason after the other is one time without relay', () => {
    expect(history([0, 'no-peer'], [3_000, 'refused'], [5_000, 'refused'])).toEqual([false, false, true]);
  });

  it('relay in between begins the time anew', () => {
    expect(history([0, 'refused'], [4_000, 'active'], [5_000, 'refused'], [9_000, 'refused'])).toEqual(
      Array(4).fill(false),
    );
  });

  it('a bridge that is still at it is waited for, before and after', () => {
    expect(history([0, 'requested'], [60_000, 'requested'])).toEqual([false, false]);
    expect(history([0, 'refused'], [5_000, 'refused'], [6_000, 'requested'], [7_000, 'active'])).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it.each(['active', 'assumed', 'off'] as const)('%s ends it at once', (relay) => {
    expect(history([0, 'refused'], [5_000, 'refused'], [5_001, relay])).toEqual([false, true, false]);
  });

  it('the configuration ends it at once, and nothing begins without it', () => {
    expect(history([0, 'refused'], [5_000, 'refused'], [5_001, 'refused', false])).toEqual([
      false,
      true,
      false,
    ]);
    expect(history([0, 'refused', false], [60_000, 'refused', false])).toEqual([false, false]);
  });

  it('tells when it will be due, and that something has changed', () => {
    const fallback = new Fallback();
    expect(fallback.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(fallback.observe(true, 'refused', 100)).toBe(false);
    expect(fallback.nextDeadline()).toBe(5_100);
    expect(fallback.observe(true, 'refused', 5_100)).toBe(true);
    expect(fallback.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it('what an earlier run switched stays until relay is there', () => {
    const fallback = new Fallback();
    fallback.resume();
    fallback.observe(true, 'no-peer', 0);
    expect(fallback.active).toBe(true);
    expect(fallback.observe(true, 'active', 1)).toBe(true);
    expect(fallback.active).toBe(false);
  });
});
