import { ECP_RATIFIED, type EcpDialect, type EcpPdu } from './dialect.ts';

/** Operational R, and the ack timer in milliseconds; a change applies from the next transmission on (ecp.md 1.2). */
export interface EcpTiming {
  maxRetries: number;
  ackTimer: number;
  /** Each retransmission has a number of its own, as lldpad's draft ECP does it (ecp.md 2.2). */
  renumber?: boolean;
}

export type EcpTransmitState = 'INIT_TRANSMIT' | 'WAIT_FOR_REQ' | 'TRANSMIT_ECPDU' | 'COUNT_ERRORS';

export type EcpTransmitEffect =
  | { kind: 'send'; ecpdu: Uint8Array }
  | { kind: 'delivered'; sequence: number; attempts: number }
  /** Given up; VDP learns it through its own respWaitDelay (ecp.md 1.3). */
  | { kind: 'undelivered'; sequence: number; attempts: number };

/** Requests that wait behind the outstanding one; more than that is the caller's mistake, it can see `idle`. */
const QUEUE_MAX = 64;

/** ECP transmit machine of one port, for VDP (ecp.md 1.3 and 2.2): one ECPDU outstanding, R retransmissions of the same octets. */
export class EcpTransmitter {
  state: EcpTransmitState = 'INIT_TRANSMIT';
  timing: EcpTiming;
  readonly counters = { txFrameCount: 0, txRetryCount: 0, txErrors: 0 };
  #dialect: EcpDialect;
  #sequence: number;
  #queue: Uint8Array[] = [];
  #ulpdu: Uint8Array | undefined;
  #outstanding: Uint8Array | undefined;
  /** Numbers that the outstanding ECPDU was sent with; none when nothing is outstanding. */
  #numbers: number[] = [];
  #attempts = 0;
  #ackDeadline = Number.POSITIVE_INFINITY;

  /** `firstSequence` 1..65535: random, so that a restarted station is not taken for a duplicate (interop-notes.md 10, row 2). */
  constructor(timing: EcpTiming, firstSequence: number, dialect = ECP_RATIFIED) {
    this.timing = timing;
    this.#dialect = dialect;
    this.#sequence = firstSequence - 1;
    this.#waitForReq();
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** Nothing is outstanding and nothing waits: a request given now leaves at once. */
  get idle(): boolean {
    return this.state === 'WAIT_FOR_REQ';
  }

  /** INIT_TRANSMIT: what is outstanding or waits was for a peer that is gone. Numbers go on. */
  reset(dialect = this.#dialect): void {
    this.#dialect = dialect;
    this.#queue = [];
    this.#waitForReq();
  }

  request(ulpdu: Uint8Array, now: number): EcpTransmitEffect[] {
    if (this.#queue.length >= QUEUE_MAX) throw new RangeError(`${QUEUE_MAX} ECP requests wait already`);
    this.#queue.push(ulpdu);
    return this.#run(now);
  }

  /** Whether this ack is for the outstanding ECPDU. */
  awaits({ subtype, sequence }: Pick<EcpPdu, 'subtype' | 'sequence'>): boolean {
    return subtype === this.#dialect.subtype && this.#numbers.includes(sequence);
  }

  ack(ack: Pick<EcpPdu, 'subtype' | 'sequence'>, now: number): EcpTransmitEffect[] {
    if (!this.awaits(ack)) return [];
    const delivered = { kind: 'delivered', sequence: ack.sequence, attempts: this.#attempts } as const;
    this.#waitForReq();
    return [delivered, ...this.#run(now)];
  }

  advance(now: number): EcpTransmitEffect[] {
    if (now < this.#ackDeadline) return [];
    // retries counts the first transmission as well: R retransmissions make R + 1 in all.
    if (this.#attempts <= this.timing.maxRetries) {
      this.counters.txRetryCount++;
      if (this.timing.renumber) {
        this.#sequence = next(this.#sequence);
        this.#build();
      }
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
    this.#ulpdu = this.#queue.shift();
    if (this.#ulpdu === undefined) return [];
    this.#build();
    return [this.#transmit(now)];
  }

  #transmit(now: number): EcpTransmitEffect {
    this.state = 'TRANSMIT_ECPDU';
    this.#attempts++;
    this.#ackDeadline = now + this.timing.ackTimer;
    this.counters.txFrameCount++;
    return { kind: 'send', ecpdu: this.#outstanding! };
  }

  #build(): void {
    const { subtype } = this.#dialect;
    const pdu = { operation: 'request', subtype, sequence: this.#sequence, ulpdu: this.#ulpdu! } as const;
    this.#numbers.push(this.#sequence);
    this.#outstanding = this.#dialect.encode(pdu);
  }

  #waitForReq(): void {
    this.state = 'WAIT_FOR_REQ';
    this.#attempts = 0;
    this.#numbers = [];
    this.#ackDeadline = Number.POSITIVE_INFINITY;
    this.#sequence = next(this.#sequence);
  }
}

/** 0 is never sent: 65535 is followed by 1 (ecp.md 1.3). */
function next(sequence: number): number {
  return sequence === 65535 ? 1 : sequence + 1;
}
