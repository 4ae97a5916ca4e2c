import type { MacAddress } from '../../protocols/octets/index.ts';
import type { VsiCommand } from '../../protocols/vdp/index.ts';
import type { ProvenPeer } from '../../src/port/peer-choice.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';

export interface StoredPeer {
  lldpdu: Uint8Array;
  source: MacAddress;
  expires: number;
}

/** On a station `wanted` is there, and `inForce` when confirmed; on a bridge only `inForce`. */
export interface StoredVsi {
  wanted?: VsiCommand;
  inForce?: VsiCommand | undefined;
}

/** What survives a daemon. Writes take a moment, one after the other; those that a kill overtakes never happened. */
export class Store {
  readonly vsis = new Map<string, StoredVsi>();
  peer: StoredPeer | undefined;
  proven: ProvenPeer | undefined;
  readonly #timeline: Timeline;
  readonly #random: Random;
  #run = 0;
  #last = 0;

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline;
    this.#random = random;
  }

  put(key: string, vsi: StoredVsi, done?: () => void): void {
    this.write(() => this.vsis.set(key, vsi), done);
  }

  delete(key: string, done?: () => void): void {
    this.write(() => this.vsis.delete(key), done);
  }

  write(change: () => void, done?: () => void): void {
    const run = this.#run;
    this.#last = Math.max(this.#last, this.#timeline.now) + this.#random.between(0.05, 0.5);
    this.#timeline.at(this.#last, () => {
      if (run !== this.#run) return;
      change();
      done?.();
    });
  }

  kill(): void {
    this.#run++;
  }

  forget(): void {
    this.vsis.clear();
    this.peer = undefined;
    this.proven = undefined;
  }
}
