/** How sharp the simulation is: faults planted in the machines have to be caught, as `npm run simulate -- --planted` shows. */

import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { FAULTS, hunt, SEEDS_MAX } from './planted.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

// The seed that caught it once, most of the time; where the simulation has changed, some more.
it.each(FAULTS)(`within ${SEEDS_MAX} seeds: $name`, { timeout: 1_200_000 }, async (fault) => {
  const run = await hunt(fault, root);
  expect(run?.violation?.message).toEqual(expect.any(String));
});
