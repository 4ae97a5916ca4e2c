/** A thread of `npm run simulate`: seeds come in, what they came to goes out. */

import { parentPort } from 'node:worker_threads';
import { type Run, Runner } from './run.ts';

export interface Finished {
  runs: Run[];
  /** Since the last message. */
  transitions: [string, number][];
}

const runner = new Runner();
parentPort!.on('message', (seeds: number[]) => {
  const runs = seeds.map((seed) => runner.run(seed));
  const { seen } = runner.coverage;
  const finished: Finished = { runs, transitions: [...seen] };
  seen.clear();
  parentPort!.postMessage(finished);
});
