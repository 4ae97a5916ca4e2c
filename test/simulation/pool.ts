import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Totals } from './run.ts';
import type { Finished } from './worker.ts';

/** Seeds that a thread is given at once. */
const BATCH = 10;

/**
 * Runs `seeds` one after the other on as many threads as there are cores, with the compiled `worker`. Ends early when `enough`
 * says so, asked after each batch.
 */
export async function runSeeds(
  seeds: readonly number[],
  worker: URL,
  enough: (totals: Totals) => boolean = () => false,
  threads = availableParallelism(),
  batch = BATCH,
): Promise<Totals> {
  const totals = new Totals();
  let next = 0;
  const serve = () =>
    new Promise<void>((resolve, reject) => {
      const thread = new Worker(worker);
      const give = () => {
        if (next >= seeds.length || enough(totals)) {
          thread.terminate().then(() => resolve(), reject);
          return;
        }
        thread.postMessage(seeds.slice(next, next + batch));
        next += batch;
      };
      thread.on('message', ({ runs, transitions }: Finished) => {
        for (const run of runs) totals.add(run);
        totals.addTransitions(transitions);
        give();
      });
      thread.on('error', reject);
      give();
    });
  await Promise.all(Array.from({ length: Math.min(threads, Math.ceil(seeds.length / batch)) }, serve));
  totals.violations.sort((a, b) => a.seed - b.seed);
  return totals;
}
