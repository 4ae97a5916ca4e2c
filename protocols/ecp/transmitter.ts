import { ECP_SUBTYPE_VDP, ECP_VERSION, type Ecpdu, encodeEcpdu } from './codec.ts';

/** Operational R, and the ack timer in milliseconds; a change applies from the next transmission on (ecp.md 1.2). */
export interface EcpTiming {
  maxRetries: number;
  ackTimer: number;
}

export type EcpTransmitState = 'INIT_TRANSMIT' | 'WAIT_FOR_REQ' | 'TRANSMIT_ECPDU' | 'COUNT_ERRORS';

export type EcpTransmitEffect =
  | { kind: 'send'; ecpdu: Uint8Array }
  | { kind: 'delivered'; sequence: number; attempts: number }
  /** Given up; VDP learns it through its own respWaitDelay (ecp.md 1.3). */
  | { kind: 'undelivered'; sequence: number; attempts: number };

/** Requests that wait behind the outstanding one; more than that is the caller's mistake, it can see `idle`. */
const QUEUE_MAX = 64;

/** ECP transmit machine of one port and subtype (ecp.md 1.3): one ECPDU outstanding, R retransmissions of the same octets. */
export class EcpTransmitter {
  state: EcpTransmitState = 'INIT_TRANSMIT';
  timing: EcpTiming;
  readonly counters = { txFrameCount: 0, txRetryCount: 0, txErrors: 0 };
  #sequence: number;
  #queue: Uint8Array[] = [];
  #outstanding: Uint8Array | undefined;
  #attempts = 0;
  #ackDeadline = Number.POSITIVE_INFINITY;

  /** `firstSequence` 1..65535: random, so that a restarted station is not taken for a duplicate (interop-notes.md 10, row 2). */
  constructor(timing: EcpTiming, firstSequence: number) {
    this.timing = timing;
    this.#sequence = previous(firstSequence);
    this.#waitForReq();
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** Nothing is outstanding and nothing waits: a request given now leaves at once. */
  get idle(): boolean {
    return this.state === 'WAIT_FOR_REQ' && this.#queue.length === 0;
  }

  /** INIT_TRANSMIT: what is outstanding or waits was for a peer that is gone. Numbers go on. */
  reset(): void {
    this.#queue = [];
    this.#waitForReq();
  }

  request(ulpdu: Uint8Array, now: number): EcpTransmitEffect[] {
    if (this.#queue.length >= QUEUE_MAX) throw new RangeError(`${QUEUE_MAX} ECP requests wait already`);
    this.#queue.push(ulpdu);
    return this.#run(now);
  }

  ack(ecpdu: Pick<Ecpdu, 'version' | 'subtype' | 'sequence'>, now: number): EcpTransmitEffect[] {
    const ackReceived =
      this.state === 'TRANSMIT_ECPDU' &&
      ecpdu.version === ECP_VERSION &&
      ecpdu.subtype === ECP_SUBTYPE_VDP &&
      ecpdu.sequence === this.#sequence;
    if (!ackReceived) return [];
    const delivered = { kind: 'delivered', sequence: this.#sequence, attempts: this.#attempts } as const;
    this.#waitForReq();
    return [delivered, ...this.#run(now)];
  }

  advance(now: number): EcpTransmitEffect[] {
    if (now < this.#ackDeadline) return [];
    // retries counts the first transmission as well: R retransmissions make R + 1 in all.
    if (this.#attempts <= this.timing.maxRetries) {
      this.counters.txRetryCount++;
      return [this.#transmit(now)];
    }
    this.state = 'COUNT_ERRORS';
    this.counters.txErrors++;
    const undelivered = { kind: 'undelivered', sequence: this.#sequence, attempts: this.#attempts } as const;
    this.#waitForReq();
    return [undelivered, ...this.#run(now)];
  }

  nextDeadline(): number {
    return this.#ackDeadline;
  }

  #run(now: number): EcpTransmitEffect[] {
    if (this.state !== 'WAIT_FOR_REQ') return [];
    const ulpdu = this.#queue.shift();
    if (ulpdu === undefined) return [];
    this.#outstanding = encodeEcpdu({
      version: ECP_VERSION,
      operation: 'request',
      subtype: ECP_SUBTYPE_VDP,
      sequence: this.#sequence,
      ulpdu,
    });
    return [this.#transmit(now)];
  }

  #transmit(now: number): EcpTransmitEffect {
    this.state = 'TRANSMIT_ECPDU';
    this.#attempts++;
    this.#ackDeadline = now + this.timing.ackTimer;
    this.counters.txFrameCount++;
    return { kind: 'send', ecpdu: this.#outstanding! };
  }

  #waitForReq(): void {
    this.state = 'WAIT_FOR_REQ';
    this.#attempts = 0;
    this.#outstanding = undefined;
    this.#ackDeadline = Number.POSITIVE_INFINITY;
    this.#sequence = next(this.#sequence);
  }
}

/** 0 is never sent: 65535 is followed by 1 (ecp.md 1.3). */
function next(sequence: number): number {
  return sequence === 65535 ? 1 : sequence + 1;
}

function previous(sequence: number): number {
  return sequence === 1 ? 65535 : sequence - 1;
}
