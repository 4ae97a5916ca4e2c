import { expect, it } from 'vitest';
import { planOf } from './plan.ts';
import { World } from './world.ts';

const first = Number(process.env['EVBD_SEED'] ?? 1);
const count = process.env['EVBD_SEED'] === undefined ? Number(process.env['EVBD_SEEDS'] ?? 300) : 1;

it(`${count} seeds from ${first} on`, { timeout: 3_600_000 }, () => {
  const failures: string[] = [];
  const dropped = new Map<string, number>();
  let events = 0,
    frames = 0,
    time = 0;
  const began = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    const outcome = new World(planOf(seed)).run();
    events += outcome.events;
    frames += outcome.frames;
    time += outcome.time;
    for (const reason of outcome.dropped) dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
    if (outcome.violation) failures.push(`${seed}: at ${outcome.time / 1000} ${outcome.violation.message}`);
  }
  console.log(
    `${count} seeds, ${events} events, ${frames} frames, ${time / 3600_000} h in ${performance.now() - began} ms`,
  );
  console.log(failures.slice(0, 25).join('\n'));
  console.log(failures.length, 'failures');
  console.log([...dropped].map(([r, n]) => `${n} ${r}`).join('\n'));
  expect(failures.length).toBe(0);
});
