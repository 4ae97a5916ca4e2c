/** `npm run fuzz`, short: some thousand frames per role. */

import { describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { corpus, ETHERTYPES } from './corpus.ts';
import { fuzz } from './fuzz.ts';
import { Mutator } from './mutator.ts';
import { Pair } from './pair.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });
const FRAMES = 2500;

describe.runIf(ready).each([
  ['station', 'ratified'],
  ['bridge', 'ratified'],
  ['station', 'draft'],
  ['bridge', 'draft'],
] as const)('hostile frames for a %s, %s', (role, dialect) => {
  it('it answers, stays small, and all that is wanted is in force', { timeout: 300_000 }, async () => {
    const result = await fuzz({ role, dialect, frames: FRAMES, seed: 20 });
    expect(result.failures).toEqual([]);
    // Nothing was spared: the frames were decoded, by every decoder there is, and not dropped on the way.
    expect(result.frames).toBe(FRAMES);
    expect(result.handled).toBeGreaterThan(0.98 * FRAMES);
    for (const key of [
      'statsFramesDiscardedTotal',
      'rxFrameCount',
      'ecpMalformed',
      'vdpMalformed',
      'ecpForeign',
    ])
      expect(result.counters[key], key).toBeGreaterThan(20);
  });
});

describe('the frames', () => {
  const stream = (seed: number, count: number) => {
    const mutator = new Mutator(seed, 0, corpus('ratified'), Pair.ends('bridge', 'ratified'));
    return Array.from({ length: count }, () => mutator.next({ peer: 1, stranger: 1, self: 1 }));
  };

  it('are those of their seed', () => {
    expect(stream(7, 300)).toEqual(stream(7, 300));
    expect(stream(7, 300)).not.toEqual(stream(8, 300));
  });

  it('are of all three Ethertypes, from nothing to the MTU, and none is longer than a wire takes', () => {
    const lengths = stream(7, 3000).map(({ octets }) => octets.length);
    expect(Math.min(...lengths)).toBeLessThan(20);
    expect(Math.max(...lengths)).toBeGreaterThanOrEqual(1514);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(1518);
    for (const etherType of ETHERTYPES) {
      const { own, foreign } = corpus('ratified');
      expect([...(own[etherType] ?? []), ...(foreign[etherType] ?? [])].length).toBeGreaterThan(10);
    }
  });
});
