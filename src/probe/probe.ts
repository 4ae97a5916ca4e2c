import type { MacAddress } from '../../protocols/octets/index.ts';
import { decodeTestFrame, encodeTestFrame } from './frame.ts';

/** Between two frames, milliseconds. */
const GAP = 20;
/** After the last frame of a round: for those that are missing, and for copies when none is. */
const PATIENCE = 1_000;
const SETTLE = 200;
const FRAMES = 10;
/** Copies after which there is nothing left to find out: the frames go round, or somebody plays. */
const COPIES_MAX = 100;

export interface ProbeOptions {
  /** The interface's own address. */
  own: MacAddress;
  /** Two that nobody has. */
  addresses: readonly [MacAddress, MacAddress];
  /** Unpredictable: it tells this probe's frames from all others. */
  nonce: Uint8Array;
}

export interface ProbeOutcome {
  /** Test frames come back. */
  reflects: boolean;
  /** Only those from the interface's own address do. */
  enforced: boolean;
  /** Test frames of the round that the answer rests on; of both when none came back. */
  sent: number;
  received: number;
  /** What came back after a frame had come back already. */
  duplicates: number;
  /** VID of the tag with which a frame came back; 0: without. */
  vlan: number;
  /** From sending to the first return, ascending, milliseconds. */
  latencies: number[];
}

interface Planned {
  source: MacAddress;
  destination: MacAddress;
  /** 0: makes an address known and proves nothing. */
  round: 0 | 1 | 2;
}

interface Sent {
  at: number;
  /** Absent: it has not come back. */
  latency?: number;
}

/**
 * Which test frames go out when, and what their return says. Without sockets, clock and chance: `now` in milliseconds,
 * monotonic.
 *
 * Two frames make both throw-away addresses known at our port, so that a bridge floods the first one only and sends the
 * test frames nowhere else than back: what comes back then was reflected by the bridge that we are connected to, as it
 * would reflect guests' frames. When not one frame has come back, it may be that the bridge lets unknown addresses not in:
 * the second round is from our own.
 */
export class Probe {
  readonly #nonce: Uint8Array;
  readonly #plan: readonly Planned[];
  readonly #sent = new Map<number, Sent>();
  #next = 0;
  #dueAt: number;
  #secondRound = false;
  #duplicates = 0;
  #vlan = 0;
  #done = false;

  constructor({ own, addresses: [left, right], nonce }: ProbeOptions, now: number) {
    const there: Planned = { source: left, destination: right, round: 1 };
    const back: Planned = { source: right, destination: left, round: 1 };
    const tests = Array.from({ length: FRAMES }, (_, i) => (i % 2 === 0 ? there : back));
    const second = tests.map((): Planned => ({ source: own, destination: right, round: 2 }));
    this.#plan = [{ ...back, round: 0 }, { ...there, round: 0 }, ...tests, ...second];
    this.#nonce = nonce;
    this.#dueAt = now;
  }

  get done(): boolean {
    return this.#done;
  }

  /** Infinity when it is done. */
  nextDeadline(): number {
    if (this.#done) return Number.POSITIVE_INFINITY;
    // The last frame's gap is over when the waiting begins.
    if (this.#sending) return this.#dueAt;
    return this.#dueAt + (this.#complete ? SETTLE : PATIENCE);
  }

  /** The frame to be sent now, if one is due. */
  advance(now: number): Uint8Array | undefined {
    if (now < this.nextDeadline()) return undefined;
    if (!this.#sending) {
      if (this.#secondRound || [...this.#sent.values()].some(({ latency }) => latency !== undefined)) {
        this.#done = true;
        return undefined;
      }
      this.#secondRound = true;
    }
    const sequence = this.#next++;
    const { source, destination } = this.#plan[sequence]!;
    this.#sent.set(sequence, { at: now });
    this.#dueAt = now + GAP;
    return encodeTestFrame({ source, destination, nonce: this.#nonce, sequence });
  }

  /** What `advance` gave could not be sent. */
  notSent(): void {
    this.#sent.delete(this.#next - 1);
  }

  /** A frame has arrived. `strippedVid`: of the tag that is no longer in it. */
  receive(octets: Uint8Array, strippedVid: number | undefined, now: number): void {
    const frame = decodeTestFrame(octets, this.#nonce);
    const sent = frame && this.#sent.get(frame.sequence);
    if (sent === undefined || this.#done) return;
    this.#vlan ||= strippedVid || frame!.taggedVid || 0;
    if (sent.latency === undefined) sent.latency = now - sent.at;
    else if (++this.#duplicates === COPIES_MAX) this.#done = true;
  }

  outcome(): ProbeOutcome {
    const [first, second] = [this.#ofRound(1), this.#ofRound(2)];
    const rounds = [first, second, [...first, ...second]];
    // An answer that was later than the second round began is one to the first.
    const counted = rounds.find((round) => round.some(hasReturned)) ?? rounds[2]!;
    const latencies = counted.filter(hasReturned).map(({ latency }) => latency);
    return {
      reflects: latencies.length > 0,
      enforced: counted === second,
      sent: counted.length,
      received: latencies.length,
      duplicates: this.#duplicates,
      vlan: this.#vlan,
      latencies: latencies.sort((a, b) => a - b),
    };
  }

  get #sending(): boolean {
    const round = this.#plan[this.#next]?.round;
    return round !== undefined && (round < 2 || this.#secondRound);
  }

  /** Every test frame of the present round is back. */
  get #complete(): boolean {
    return this.#ofRound(this.#secondRound ? 2 : 1).every(hasReturned);
  }

  #ofRound(round: number): Sent[] {
    return [...this.#sent].flatMap(([sequence, sent]) => (this.#plan[sequence]!.round === round ? sent : []));
  }
}

function hasReturned(sent: Sent): sent is Required<Sent> {
  return sent.latency !== undefined;
}
