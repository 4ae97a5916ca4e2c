import type { LldpNeighbour } from '../../protocols/lldp-agent/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';

/** The EVB peer that has shown that it hears us: whoever had its place meanwhile, it has it back when it is heard again. */
export interface ProvenPeer {
  /** As in LldpNeighbour. */
  key: string;
  source: MacAddress;
  /** It has acknowledged ECP, and not only shown in LLDP that it hears us. */
  acknowledges: boolean;
  /** Until when it is remembered, unless it is heard before. */
  until: number;
}

/** Milliseconds that a peer which is not heard is remembered: long enough for a switch that is being mended. */
const REMEMBERED = 24 * 3_600_000;
/** ECPDUs given up one after the other, from the first on: one may be lost, and lldpad is slow on a busy machine. */
const GIVEN_UP = 3;
/** What is told of it for whoever keeps it may be old by so much. */
const REFRESHED = 3_600_000;

/** What an earlier run knew, as far as it can be: the time of day may have been another then. */
export function recalled(proven: ProvenPeer | undefined, now: number): ProvenPeer | undefined {
  return proven && { ...proven, until: Math.min(proven.until, now + REMEMBERED) };
}

/**
 * Which neighbour that speaks EVB is the peer: the first, while it lives (lldp.md 6). But a guest behind a reflecting port can
 * send EVB TLVs too, so the place is lost to who has shown that it hears us by one that has not:
 *  - to the peer of before, at once, but not twice within the time of a trial;
 *  - to one that acknowledges an ECPDU, by a peer that has never acknowledged any of several;
 *  - to one whose TLV shows it, by a peer whose TLV does not within its time of trial.
 * Else each step is one up, so nobody is displaced in turn. What is shown can be forged by who listens; being the first cannot.
 */
export class PeerChoice {
  /** LldpNeighbour.key of the peer. */
  #key: string | undefined;
  #proven: ProvenPeer | undefined;
  #trialEnds = Number.POSITIVE_INFINITY;
  #onTrial = false;
  /** Until then the place is not given back again. */
  #settledUntil = Number.NEGATIVE_INFINITY;
  /** Neighbours whose TLV has shown that they hear us. */
  readonly #hearing = new Set<string>();
  /** The peer has acknowledged an ECPDU. */
  #acknowledges = false;
  /** ECPDUs that it has not, before the first that it has. */
  #ignored = 0;
  /** Another neighbour that has acknowledged the ECPDU under way. */
  #acknowledgedBy: string | undefined;

  constructor(proven?: ProvenPeer) {
    this.#proven = proven;
  }

  get key(): string | undefined {
    return this.#key;
  }

  /** As it is worth keeping: `until` may be old by an hour. */
  get proven(): ProvenPeer | undefined {
    return this.#proven;
  }

  /** Nobody is the peer; what was shown in one dialect does not count in another. */
  reset(): void {
    this.#key = undefined;
    this.#hearing.clear();
  }

  /** An LLDPDU of a neighbour. `hears`: it shows that it hears us. */
  heard(neighbour: LldpNeighbour, hears: boolean, now: number): void {
    if (hears) this.#hearing.add(neighbour.key);
    if (neighbour.key === this.#key) this.#remember(neighbour, now);
  }

  gone(key: string): void {
    this.#hearing.delete(key);
  }

  /** An ECPDU leaves for the first time. */
  requested(): void {
    this.#acknowledgedBy = undefined;
  }

  /** `neighbour` has acknowledged the ECPDU under way. */
  acknowledged(neighbour: LldpNeighbour, now: number): void {
    if (neighbour.key !== this.#key) {
      this.#acknowledgedBy ??= neighbour.key;
      return;
    }
    this.#acknowledges = true;
    this.#remember(neighbour, now);
  }

  /** ECP has given up the ECPDU under way. */
  gaveUp(): void {
    this.#ignored++;
  }

  advance(now: number): void {
    if (now >= this.#trialEnds) this.#onTrial = false;
  }

  nextDeadline(): number {
    return this.#onTrial && !this.#shown ? this.#trialEnds : Number.POSITIVE_INFINITY;
  }

  /** Who of those that speak EVB, the oldest first, is to be the peer; `reason` why another than it is. */
  best(
    speakers: readonly LldpNeighbour[],
    now: number,
  ): { peer: LldpNeighbour | undefined; reason?: string } {
    const named = (wanted: string | undefined) => speakers.find(({ key }) => key === wanted);
    const answering = this.ignores ? named(this.#acknowledgedBy) : undefined;
    if (answering !== undefined)
      return { peer: answering, reason: 'another neighbour acknowledges ECP, and it never did' };
    const proven = speakers.find((speaker) => this.isProven(speaker, now));
    const present = named(this.#key);
    if (proven !== undefined && (present === undefined || proven === present || now >= this.#settledUntil))
      return { peer: proven, reason: 'the EVB peer of before is back' };
    const hearing = speakers.find(({ key }) => this.#hearing.has(key));
    if (present === undefined) return { peer: hearing ?? speakers[0] };
    if (hearing === undefined || this.#onTrial || this.#shown) return { peer: present };
    return { peer: hearing, reason: 'another neighbour hears us, and it has never shown that it does' };
  }

  /** `peer` has the place from now on, and `trial` milliseconds to show that it hears us. undefined: nobody has. */
  take(peer: LldpNeighbour | undefined, trial: number, now: number): void {
    const answers = peer !== undefined && peer.key === this.#acknowledgedBy;
    if (peer !== undefined && this.#key !== undefined && this.isProven(peer, now))
      this.#settledUntil = now + trial;
    if (answers && this.ignores && this.#proven?.key === this.#key) this.#proven = undefined;
    this.#key = peer?.key;
    this.#trialEnds = now + trial;
    this.#onTrial = peer !== undefined;
    this.#acknowledges = answers;
    this.#ignored = 0;
    this.#acknowledgedBy = undefined;
    if (peer !== undefined) this.#remember(peer, now);
  }

  isProven({ key }: LldpNeighbour, now: number): boolean {
    return this.#proven?.key === key && now < this.#proven.until;
  }

  /** The peer has shown that it hears us, or still has time to. */
  get trusted(): boolean {
    return this.#shown || this.#onTrial;
  }

  /** It has acknowledged nothing of what we sent it, now or before. */
  get ignores(): boolean {
    const before = this.#proven?.key === this.#key && this.#proven?.acknowledges;
    return this.#ignored >= GIVEN_UP && !this.#acknowledges && !before;
  }

  /** It has shown that it hears us, since it is the peer or before. */
  get #shown(): boolean {
    if (this.#key === undefined) return false;
    return this.#acknowledges || this.#hearing.has(this.#key) || this.#proven?.key === this.#key;
  }

  /** The first one that has shown that it hears us stays the one that is remembered, until it has been silent for long. */
  #remember({ key, source }: LldpNeighbour, now: number): void {
    if (source === undefined || !this.#shown) return;
    const before = this.#proven;
    if (before !== undefined && before.key !== key && now < before.until) return;
    const same = before?.key === key ? before : undefined;
    const acknowledges = this.#acknowledges || same?.acknowledges === true;
    const until = now + REMEMBERED;
    if (same !== undefined && same.acknowledges === acknowledges && until < same.until + REFRESHED) return;
    this.#proven = { key, source, acknowledges, until };
  }
}
