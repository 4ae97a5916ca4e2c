import { Coverage } from './coverage.ts';
import { type Plan, planOf } from './plan.ts';
import { World } from './world.ts';

/** What one seed came to; plain data. */
export interface Run {
  seed: number;
  events: number;
  frames: number;
  /** Virtual milliseconds. */
  time: number;
  /** What was violated, and when. */
  violation: { at: number; message: string } | undefined;
  /** Why wishes ended that nobody gave up. */
  refusals: string[];
}

/** One world after the other, with the transitions of their machines counted together. */
export class Runner {
  readonly coverage = new Coverage();

  run(seed: number, trace?: (line: string) => void): Run {
    const world = new World(planOf(seed), trace);
    this.coverage.onCall = (call) => world.witness.saw(call);
    const { violation, dropped, ...outcome } = world.run();
    const violated = violation && { at: outcome.time, message: violation.message };
    return { ...outcome, violation: violated, refusals: dropped };
  }

  stop(): void {
    this.coverage.stop();
  }
}

/** A violation with all that is needed to understand it and to see it again. */
export function told({ seed, violation }: Run): string[] {
  if (violation === undefined) return [];
  return [
    `seed ${seed} after ${(violation.at / 1000).toFixed(3)} s: ${violation.message}`,
    ...worldOf(planOf(seed)).map((line) => `  ${line}`),
    `  again: npm run simulate -- --seed ${seed} --trace`,
  ];
}

function worldOf({ pairs }: Plan): string[] {
  return pairs.map(({ faults, ...pair }, index) => {
    const happening = Object.entries(faults).filter(([, rate]) => rate > 0);
    const list = happening.map(([fault, rate]) => `${fault} ${Number(rate.toPrecision(2))}`).join(', ');
    const spoken = `${pair.stationProtocol}/${pair.bridgeProtocol}`;
    return `link ${index} (bridge ${pair.kernel}, ${spoken}, relay ${pair.stationRelay}/${pair.bridgeRelay}): ${list}`;
  });
}

/** Of many runs what a report says of them together. */
export class Totals {
  seeds = 0;
  events = 0;
  frames = 0;
  time = 0;
  readonly refusals = new Map<string, number>();
  readonly violations: Run[] = [];
  readonly transitions = new Map<string, number>();

  add(run: Run): void {
    this.seeds++;
    this.events += run.events;
    this.frames += run.frames;
    this.time += run.time;
    for (const text of run.refusals) {
      const reason = text.replace(/^VSI \S+: /, '');
      this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
    }
    if (run.violation !== undefined) this.violations.push(run);
  }

  addTransitions(seen: Iterable<[string, number]>): void {
    for (const [transition, times] of seen) {
      this.transitions.set(transition, (this.transitions.get(transition) ?? 0) + times);
    }
  }
}
