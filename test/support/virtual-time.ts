/** What every machine with deadlines of its own looks like. */
export interface Timed<Effect> {
  advance(now: number): Effect[];
  nextDeadline(): number;
}

export type At<Effect> = Effect & { at: number };

/** A machine may be due again at the same moment, but not for ever. */
const SAME_MOMENT_MAX = 1000;

/**
 * Drives `machine` from `from` to `until` (inclusive) as the daemon's runtime does, without a clock: jumps from deadline to
 * deadline. Returns its effects with their times.
 */
export function runUntil<Effect extends object>(
  machine: Timed<Effect>,
  from: number,
  until: number,
): At<Effect>[] {
  const effects: At<Effect>[] = [];
  let now = from;
  let here = 0;
  for (let due = machine.nextDeadline(); due <= until; due = machine.nextDeadline()) {
    here = due > now ? 0 : here + 1;
    if (here > SAME_MOMENT_MAX) throw new Error(`the machine stays due at ${now}`);
    now = Math.max(now, due);
    for (const effect of machine.advance(now)) effects.push({ ...effect, at: now });
  }
  return effects;
}
