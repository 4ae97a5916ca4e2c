/** A short run of what `npm run simulate` does at length. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { Runner, told } from './run.ts';

const SEEDS = 100;

let runner: Runner;
beforeAll(() => {
  runner = new Runner();
});
afterAll(() => runner.stop());

it(`${SEEDS} seeds: no invariant is violated`, { timeout: 600_000 }, () => {
  const failures: string[] = [];
  for (let seed = 1; seed <= SEEDS; seed++) failures.push(...told(runner.run(seed)));
  expect(failures).toEqual([]);
});

it('the same seed is the same run', () => {
  const traces = [1, 2].map(() => {
    const lines: string[] = [];
    runner.run(7, (line) => lines.push(line));
    return lines;
  });
  expect(traces[0]!.length).toBeGreaterThan(100);
  expect(traces[0]).toEqual(traces[1]);
});
