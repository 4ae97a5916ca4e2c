/**
 * EVBD_SEEDS=10000 for more seeds, EVBD_FROM=301 to begin elsewhere, EVBD_SEED=17 for one, EVBD_TRACE=1 to see it happen.
 */

import process from 'node:process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Coverage } from './coverage.ts';
import { type Plan, planOf } from './plan.ts';
import { World } from './world.ts';

const { EVBD_SEED, EVBD_SEEDS, EVBD_FROM } = process.env;
const first = Number(EVBD_SEED ?? EVBD_FROM ?? 1);
const count = EVBD_SEED === undefined ? Number(EVBD_SEEDS ?? 300) : 1;
/** Failures told in full; the seeds of the others are enough. */
const TOLD_MAX = 10;

let coverage: Coverage;
beforeAll(() => {
  coverage = new Coverage();
});
afterAll(() => coverage.stop());

it(`${count} seeds from ${first} on: no invariant is violated`, { timeout: 24 * 3_600_000 }, () => {
  const failed: string[] = [];
  const refusals = new Map<string, number>();
  const total = { events: 0, frames: 0, time: 0 };
  for (let seed = first; seed < first + count; seed++) {
    const plan = planOf(seed);
    const world = new World(plan);
    coverage.onPeerRestarted = (evb) => world.peerRestarted(evb);
    const { violation, events, frames, time, dropped } = world.run();
    total.events += events;
    total.frames += frames;
    total.time += time;
    for (const reason of dropped) refusals.set(reason, (refusals.get(reason) ?? 0) + 1);
    if (violation !== undefined) failed.push(told(plan, time, violation.message));
  }
  const hours = (total.time / 3_600_000).toFixed(1);
  console.log(
    [
      `${count} seeds, ${total.events} events, ${total.frames} frames in ${hours} virtual hours`,
      ...coverage.summary(),
      'wishes that a refusal ended:',
      ...[...refusals].map(([reason, times]) => `  ${times} ${reason}`),
    ].join('\n'),
  );
  const more = failed.length > TOLD_MAX ? `\n${failed.length} seeds fail in all` : '';
  expect(failed.length, failed.slice(0, TOLD_MAX).join('\n') + more).toBe(0);
});

it('the same seed is the same run', () => {
  const [one, other] = [first, first].map((seed) => {
    const { events, frames, time } = new World(planOf(seed)).run();
    return { events, frames, time };
  });
  expect(one).toEqual(other);
});

function told(plan: Plan, time: number, message: string): string {
  const links = plan.pairs.map(({ faults, ...pair }, index) => {
    const happening = Object.entries(faults).filter(([, rate]) => rate > 0);
    const list = happening.map(([fault, rate]) => `${fault} ${Number(rate.toPrecision(2))}`).join(', ');
    return `    link ${index} (bridge ${pair.kernel}, relay ${pair.stationRelay}/${pair.bridgeRelay}): ${list}`;
  });
  const again = `EVBD_SEED=${plan.seed} EVBD_TRACE=1 npx vitest run test/simulation/simulation.test.ts`;
  return [
    `seed ${plan.seed} at ${(time / 1000).toFixed(5)} s: ${message}`,
    ...links,
    `    again: ${again}`,
  ].join('\n');
}
