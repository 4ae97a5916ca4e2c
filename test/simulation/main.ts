/** The command behind `npm run simulate`. */

import process from 'node:process';
import { parseArgs } from 'node:util';
import { wrap } from '../../src/cli/terminal.ts';
import { missing, TABLES } from './coverage.ts';
import { FAULTS, type Fault, hunt } from './planted.ts';
import { runSeeds } from './pool.ts';
import { type Run, Runner, type Totals, told } from './run.ts';

const USAGE = `usage: npm run simulate -- [OPTION]...

Stations and bridges, the real machines, on a virtual wire and a virtual clock,
among faults of every kind and users who change their minds. A seed is one run
of the world, always the same. Invariants are checked after every event.

  --seeds N    how many seeds (default 1000)
  --first S    the first of them (default 1)
  --seed S     this one alone
  --trace      tell all that happens; with --seed
  --planted    plant one fault after the other in the machines: each must be
               caught within 200 seeds
  --json       one JSON document, nothing else on standard output
  --help       this text

Exit status: 0 when nothing was violated (with --planted: when every fault was
caught), 1 otherwise, 2 for a wrong option.
`;

const COLUMNS = 79;
/** Violations told in full; of the others the seeds are enough. */
const TOLD_MAX = 10;
/** Milliseconds between two signs of life: on a terminal, and in a log. */
const PROGRESS = 500;
const PROGRESS_LOGGED = 30_000;

interface Options {
  seeds: number[];
  trace: boolean;
  planted: boolean;
  json: boolean;
}

class UsageError extends Error {}

export async function main(words: string[], root: string): Promise<number> {
  try {
    const options = read(words);
    if (options === undefined) {
      process.stdout.write(USAGE);
      return 0;
    }
    if (options.planted) return await plant(options.json, root);
    return options.trace ? trace(options.seeds[0]!) : await simulate(options);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`evbd simulate: ${error.message}; see npm run simulate -- --help\n`);
    return 2;
  }
}

function read(words: string[]): Options | undefined {
  const { values } = parsed(words);
  if (values.help) return undefined;
  const number = (name: 'seeds' | 'first' | 'seed', otherwise: number) => {
    const text = values[name];
    if (text === undefined) return otherwise;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : 0;
    if (value < 1) throw new UsageError(`--${name} ${text}: give a number from 1 on`);
    return value;
  };
  if (values.seed !== undefined && (values.seeds ?? values.first) !== undefined)
    throw new UsageError('--seed is one seed: without --seeds and --first');
  if (values.trace && values.seed === undefined) throw new UsageError('--trace needs --seed');
  if (values.trace && values.json) throw new UsageError('--trace is for people: without --json');
  if (values.planted && (values.seeds ?? values.first ?? values.seed) !== undefined)
    throw new UsageError('--planted has seeds of its own: without --seeds, --first and --seed');
  const first = number('seed', number('first', 1));
  const count = values.seed === undefined ? number('seeds', 1_000) : 1;
  const { trace = false, planted = false, json = false } = values;
  return { seeds: Array.from({ length: count }, (_, n) => first + n), trace, planted, json };
}

function parsed(words: string[]) {
  try {
    return parseArgs({
      args: words,
      options: {
        seeds: { type: 'string' },
        first: { type: 'string' },
        seed: { type: 'string' },
        trace: { type: 'boolean' },
        planted: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0]!);
  }
}

function trace(seed: number): number {
  const run = new Runner().run(seed, (line) => say(line));
  tell(run);
  if (run.violation === undefined) say(`seed ${seed}: nothing is violated`);
  return run.violation === undefined ? 0 : 1;
}

function tell(run: Run): void {
  for (const line of told(run)) paragraph(line, 0, line.length - line.trimStart().length + 2);
}

async function simulate({ seeds, json }: Options): Promise<number> {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1_000;
  const progress = new Progress();
  let shown = 0;
  const totals = await runSeeds(seeds, new URL('worker.js', import.meta.url), (soFar) => {
    // At once: a long run that is broken off has told what it found.
    for (; !json && shown < soFar.violations.length; shown++) {
      progress.clear();
      if (shown < TOLD_MAX) tell(soFar.violations[shown]!);
    }
    const left = (seconds() / soFar.seeds) * (seeds.length - soFar.seeds);
    const rate = soFar.seeds / seconds();
    if (soFar.seeds > 0) {
      progress.show(
        `${soFar.seeds} of ${seeds.length} seeds, ${rate.toFixed(1)} a second, ` +
          `${soFar.violations.length} violations, ${duration(left)} left`,
      );
    }
    return false;
  });
  progress.clear();
  if (json) say(JSON.stringify(document(seeds, totals, seconds())));
  else report(seeds, totals, seconds());
  return totals.violations.length === 0 ? 0 : 1;
}

function report(seeds: readonly number[], totals: Totals, seconds: number): void {
  const { violations, refusals } = totals;
  say(`${seeds.length} seeds from ${seeds[0]} on in ${duration(seconds)}:`);
  say(
    `${totals.events} events, ${totals.frames} frames, ${(totals.time / 3_600_000).toFixed(0)} virtual hours`,
  );
  say('');
  say('transitions made, of those in the tables of docs/protocol:');
  for (const [machine, rows] of Object.entries(TABLES)) {
    const open = missing(machine, totals.transitions);
    say(`  ${machine.padEnd(16)} ${rows.length - open.length} of ${rows.length}`);
    for (const { row, why } of open) paragraph(`not made: ${row}. ${why}`, 4);
  }
  say('');
  say('wishes that were dropped, each after a word of the bridge:');
  for (const [reason, times] of [...refusals].sort(([, a], [, b]) => b - a))
    paragraph(`${String(times).padStart(6)}  ${reason}`, 2, 10);
  say('');
  if (violations.length > 0)
    paragraph(`all seeds that fail: ${violations.map(({ seed }) => seed).join(' ')}`, 0);
  say(violations.length === 0 ? 'nothing is violated' : `${violations.length} seeds fail`);
}

function document(seeds: readonly number[], totals: Totals, seconds: number) {
  const { violations, refusals, events, frames, time } = totals;
  return {
    ok: violations.length === 0,
    first: seeds[0],
    seeds: seeds.length,
    seconds: Number(seconds.toFixed(1)),
    events,
    frames,
    virtualSeconds: Math.round(time / 1_000),
    violations: violations.map(({ seed, violation }: Run) => ({ seed, ...violation })),
    machines: Object.entries(TABLES).map(([machine, rows]) => {
      const open = missing(machine, totals.transitions);
      return { machine, transitions: rows.length, made: rows.length - open.length, missing: open };
    }),
    refusals: Object.fromEntries(refusals),
  };
}

async function plant(json: boolean, root: string): Promise<number> {
  const progress = new Progress();
  const results: { fault: Fault; seed: number | undefined; violation: string | undefined }[] = [];
  for (const fault of FAULTS) {
    progress.show(`${results.length} of ${FAULTS.length} faults, now: ${fault.name}`);
    const run = await hunt(fault, root);
    results.push({ fault, seed: run?.seed, violation: run?.violation?.message });
    if (json) continue;
    progress.clear();
    const verdict = run === undefined ? 'NOT CAUGHT' : `seed ${run.seed}`;
    say(`${verdict.padEnd(11)} ${fault.name}`);
    if (run?.violation) paragraph(run.violation.message, 12);
  }
  progress.clear();
  const caught = results.filter(({ seed }) => seed !== undefined).length;
  const ok = caught === FAULTS.length;
  if (json) {
    const faults = results.map(({ fault: { name, file }, ...result }) => ({ name, file, ...result }));
    say(JSON.stringify({ ok, faults }));
  } else say(`\n${caught} of ${FAULTS.length} planted faults are caught`);
  return ok ? 0 : 1;
}

/** What happens meanwhile, on stderr: on a terminal one line that changes, in a log a line now and then. */
class Progress {
  #next = performance.now() + PROGRESS;
  #shown = false;

  show(text: string): void {
    if (performance.now() < this.#next) return;
    const { isTTY } = process.stderr;
    this.#next = performance.now() + (isTTY ? PROGRESS : PROGRESS_LOGGED);
    process.stderr.write(isTTY ? `\r\x1b[K${text.slice(0, COLUMNS)}` : `${text}\n`);
    this.#shown = true;
  }

  clear(): void {
    if (this.#shown && process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

function duration(seconds: number): string {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

function paragraph(text: string, indent: number, hanging = indent): void {
  const [head = '', ...rest] = wrap(text.trimStart(), COLUMNS - hanging);
  const lead = text.length - text.trimStart().length;
  say(' '.repeat(indent + lead) + head);
  for (const line of rest) say(' '.repeat(hanging) + line);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
