/**
 * One run against one role. Three quarters of the frames come from everybody, the peer above all; what the peer says is believed,
 * so VSIs may end, and must be there again when it is over, without anybody asking; those that the bridge refused in so many
 * words are the user's to ask for again. The last quarter comes from strangers alone: no VSI may so much as notice.
 */

import { setTimeout as pause } from 'node:timers/promises';
import type { DialectName } from '../../src/model.ts';
import { corpus } from './corpus.ts';
import { type Mutant, Mutator, type Sender } from './mutator.ts';
import { type Delivery, Pair, type TargetRole } from './pair.ts';

export interface FuzzOptions {
  role: TargetRole;
  dialect: DialectName;
  frames: number;
  seed: number;
  /** What happens, a line each, 80 columns. */
  tell?(line: string): void;
}

export interface FuzzResult {
  role: TargetRole;
  dialect: DialectName;
  seed: number;
  /** Frames that were to be sent, and that were. */
  asked: number;
  frames: number;
  seconds: number;
  framesPerSecond: number;
  /** Of the hostile frames. */
  handled: number;
  droppedByRate: number;
  lostOnTheWay: number;
  /** What became of all that the target received, its peer's own frames included. */
  counters: Record<string, number>;
  memory: { warm: number; peak: number; end: number };
  slowestAnswer: number;
  /** How often a wanted VSI was found out of force while the peer's name was abused, and was refused. */
  disturbed: number;
  refused: number;
  secondsToRecover: number;
  logLines: number;
  failures: string[];
  /** When something failed: the last frames as they were sent. */
  lastFrames: Uint8Array[];
}

const BATCH = 256;
const EVERYBODY: Record<Sender, number> = { peer: 93, stranger: 5, self: 2 };
const STRANGERS: Record<Sender, number> = { peer: 0, stranger: 97, self: 3 };
const STRANGERS_SHARE = 0.25;
/** Seconds: who speaks in the peer's name is believed so long after the flood, at most. */
const TTL_MAX = 2;
/** Share of the frames after which the memory is taken for warm. */
const WARM_UP = 0.1;
const MEGABYTE = 1024 * 1024;
/** What the heap may breathe: a hundred octets kept of each of a million frames are more. */
const GROWTH_MAX = 64 * MEGABYTE;
/** A link tells twenty lines a second, and how many it left out. */
const LINES_PER_SECOND = 40;
const LINES_FREE = 400;
/** Seconds: the longest pause before a VSI is asked for again is 60, and it may be refused at the first attempt. */
const RECOVERY_MAX = 150;

/** Why a station may give a VSI up: a No, thrice an answer to something else, or no words for it between the two. */
const REFUSAL =
  /refused|instead of confirming|the bridge answered|confirmed another|not agreed on group|draft 0\.2/;

export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const pair = await Pair.create(options.role, options.dialect);
  try {
    return await new Run(pair, options).result();
  } finally {
    await pair.end();
  }
}

class Run {
  readonly #pair: Pair;
  readonly #options: FuzzOptions;
  readonly #tell: (line: string) => void;
  readonly #failures: string[] = [];
  readonly #started = performance.now();
  #sent = 0;
  #flooded = 0;
  #first: Delivery | undefined;
  #last: Delivery | undefined;
  #slowest = 0;
  #unseen = 0;
  #warm = 0;
  #peak = 0;
  #disturbed = 0;
  #refused = 0;
  #recovered = 0;

  constructor(pair: Pair, options: FuzzOptions) {
    this.#pair = pair;
    this.#options = options;
    this.#tell = options.tell ?? (() => {});
  }

  async result(): Promise<FuzzResult> {
    const { role, dialect, frames, seed } = this.#options;
    const strangers = Math.floor(frames * STRANGERS_SHARE);
    const samples = corpus(dialect);
    const ends = Pair.ends(role, dialect);
    let lastFrames: Uint8Array[] = [];
    try {
      this.#first = await this.#pair.deliver([]);
      const everybody = new Mutator(seed, 0, samples, ends, TTL_MAX);
      await this.#flood(
        () => everybody.next(EVERYBODY),
        frames - strangers,
        () => this.#look(),
      );
      await this.#recover();
      const others = new Mutator(seed, 1, samples, ends);
      const before = await this.#pair.biographies();
      await this.#flood(
        () => others.next(STRANGERS),
        strangers,
        () => this.#untouched(before),
      );
      await this.#untouched(before);
    } catch (error) {
      this.#failures.push((error as Error).message);
    }
    const end = this.#alive() ? this.#pair.memory : 0;
    if (this.#failures.length > 0 && this.#sent > 0) lastFrames = await this.#pair.lastFrames();
    const logLines = this.#readLogs();
    await this.#goodbye();
    this.#judgeMemory();
    return { ...this.#figures(end), logLines, failures: this.#failures, lastFrames };
  }

  async #flood(next: () => Mutant, count: number, look: () => Promise<void>): Promise<void> {
    const began = performance.now();
    const step = Math.max(1000, Math.ceil(this.#options.frames / 20));
    let due = this.#sent + step;
    const batch = (left: number) => Array.from({ length: Math.min(BATCH, left) }, next);
    let mutants = batch(count);
    for (let left = count; left > 0; ) {
      const delivery = this.#pair.deliver(mutants);
      this.#sent += mutants.length;
      left -= mutants.length;
      // The next is made while this one is on its way.
      mutants = batch(left);
      this.#note(await delivery);
      if (this.#sent < due && left > 0) continue;
      due += step;
      await look();
      this.#tellProgress();
      if (this.#failures.length > 0) throw new Error('given up here');
    }
    this.#flooded += performance.now() - began;
  }

  #note(delivery: Delivery): void {
    this.#last = delivery;
    this.#slowest = Math.max(this.#slowest, delivery.slowest);
    this.#unseen += delivery.unseen;
    const memory = this.#pair.memory;
    this.#peak = Math.max(this.#peak, memory);
    if (this.#warm === 0 || this.#sent <= this.#options.frames * WARM_UP) this.#warm = this.#peak;
  }

  /** What a user sees meanwhile, and does about VSIs that were refused. */
  async #look(): Promise<void> {
    this.#disturbed += (await this.#pair.missing()).filter((line) => line.endsWith('at the station')).length;
    await this.#askAgain();
  }

  /** Only the bridge's own word makes a station give up; a silent bridge, or one that lets go, is asked again. */
  async #askAgain(): Promise<void> {
    for (const reason of await this.#pair.askAgain()) {
      this.#refused++;
      if (!REFUSAL.test(reason)) this.#failures.push(`a VSI was given up: ${reason}`);
    }
  }

  async #recover(): Promise<void> {
    const began = performance.now();
    for (;;) {
      await this.#askAgain();
      const missing = await this.#pair.missing();
      if (!(await this.#pair.knowsItsPeer())) missing.push('the peer is somebody who never was');
      const seconds = (performance.now() - began) / 1000;
      // Earlier somebody made up may still be the peer, and be lost later.
      if (missing.length === 0 && seconds > TTL_MAX + 1) {
        this.#recovered = seconds;
        this.#tell(`  all VSIs in force again ${seconds.toFixed(1)} s after the frames in the peer's name`);
        return;
      }
      if (seconds > RECOVERY_MAX) {
        this.#failures.push(...missing.map((line) => `${RECOVERY_MAX} s after the frames: ${line}`));
        throw new Error('VSIs were lost');
      }
      await pause(250);
    }
  }

  async #untouched(before: ReadonlyMap<string, string>): Promise<void> {
    const now = await this.#pair.biographies();
    for (const [vsi, was] of before) {
      if (now.get(vsi) === was) continue;
      this.#failures.push(`strangers touched ${vsi}: ${now.get(vsi) ?? 'gone'}; it was ${was}`);
    }
    for (const vsi of now.keys()) if (!before.has(vsi)) this.#failures.push(`strangers brought about ${vsi}`);
    const { relay, relayReason } = await this.#pair.link('station');
    if (relay !== 'active') this.#failures.push(`strangers ended the relay: ${relay}, ${relayReason}`);
  }

  #alive(): boolean {
    const { station, bridge } = this.#pair.hosts;
    return station.running && bridge.running;
  }

  /** Nothing but lines of JSON, none of them an error, and not too many. */
  #readLogs(): number {
    const seconds = (performance.now() - this.#started) / 1000;
    let count = 0;
    for (const [role, { log }] of Object.entries(this.#pair.hosts)) {
      const lines = log.split('\n').filter((line) => line !== '');
      const wrong = lines.filter((line) => !/^\{"level":(20|30|40),.*\}$/.test(line));
      for (const line of wrong.slice(0, 5)) this.#failures.push(`log of the ${role}: ${line}`);
      if (lines.length > LINES_FREE + LINES_PER_SECOND * seconds) {
        this.#failures.push(`log of the ${role}: ${lines.length} lines in ${seconds.toFixed(0)} s`);
      }
      count += lines.length;
    }
    return count;
  }

  async #goodbye(): Promise<void> {
    for (const [role, host] of Object.entries(this.#pair.hosts)) {
      if (!host.running) {
        this.#failures.push(`the ${role}'s daemon has ended: ${host.log.slice(-2000)}`);
        continue;
      }
      const how = await host.stop();
      if (how !== 0) this.#failures.push(`the ${role}'s daemon ended with ${how} when it was asked to end`);
    }
  }

  #judgeMemory(): void {
    const growth = this.#peak - this.#warm;
    if (growth > GROWTH_MAX) {
      this.#failures.push(`memory grew by ${megabytes(growth)} beyond ${megabytes(this.#warm)}`);
    }
  }

  #tellProgress(): void {
    const share = `${Math.round((100 * this.#sent) / this.#options.frames)} %`.padStart(6);
    const seconds = (performance.now() - this.#started) / 1000;
    const memory = `memory ${megabytes(this.#pair.memory)}`;
    const answer = `slowest answer ${Math.ceil(this.#slowest)} ms`;
    this.#tell(
      `${share}${String(this.#sent).padStart(9)} frames  ${seconds.toFixed(0).padStart(4)} s  ${memory}  ${answer}`,
    );
  }

  #figures(end: number): Omit<FuzzResult, 'logLines' | 'failures' | 'lastFrames'> {
    const { role, dialect, seed } = this.#options;
    const [before, after] = [this.#first?.counters ?? {}, this.#last?.counters ?? {}];
    const counters = Object.fromEntries(
      Object.entries(after).map(([key, value]) => [key, value - (before[key] ?? 0)]),
    );
    const of = (key: string) => counters[key] ?? 0;
    const fromPeer = (this.#last?.peerSent ?? 0) - (this.#first?.peerSent ?? 0);
    const handled = of('framesReceived') - fromPeer + of('framesOwnEchoed') + of('framesTagged');
    return {
      role,
      dialect,
      seed,
      asked: this.#options.frames,
      frames: this.#sent,
      seconds: (performance.now() - this.#started) / 1000,
      framesPerSecond: this.#sent / (this.#flooded / 1000),
      handled,
      droppedByRate: of('framesOverRate'),
      lostOnTheWay: this.#unseen + of('framesLostByKernel'),
      counters,
      memory: { warm: this.#warm, peak: this.#peak, end },
      slowestAnswer: this.#slowest,
      disturbed: this.#disturbed,
      refused: this.#refused,
      secondsToRecover: this.#recovered,
    };
  }
}

export function megabytes(octets: number): string {
  return `${(octets / MEGABYTE).toFixed(0)} MiB`;
}
