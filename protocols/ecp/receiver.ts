import type { MacAddress } from '../octets/index.ts';
import { ECP_RATIFIED, type EcpDialect, type EcpPdu } from './dialect.ts';
import type { EcpTiming } from './transmitter.ts';

export type EcpReceiveState = 'RECEIVE_WAIT' | 'RECEIVE_WAIT_2';

export type EcpReceiveEffect = { kind: 'indicate'; ulpdu: Uint8Array } | { kind: 'send'; ecpdu: Uint8Array };

/**
 * ECP receive machine of one port, for VDP (ecp.md 1.4 and 2.3). RECEIVE_FIRST, RECEIVE_ECPDU, NEW_ECPDU and SEND_ACK are passed
 * through within one call. The only duplicate is a request with the last sequence number from the last source, while that one
 * can still be under way: later it is the first of a peer that was started again.
 */
export class EcpReceiver {
  state: EcpReceiveState = 'RECEIVE_WAIT';
  /** The operational values, which the peer sends by. */
  timing: EcpTiming;
  readonly counters = { rxFrameCount: 0, rxDuplicates: 0, rxUnknownSubtype: 0, rxRefused: 0 };
  #dialect: EcpDialect;
  #lastSequence: number | undefined;
  #lastSource: MacAddress | undefined;
  #lastHeard = Number.NEGATIVE_INFINITY;

  constructor(timing: EcpTiming, dialect = ECP_RATIFIED) {
    this.timing = timing;
    this.#dialect = dialect;
  }

  /**
   * `accept` false: the ULP has no room; the request is not acknowledged, so that the peer sends it again.
   * A subtype that nobody consumes is dropped without an ack.
   */
  request(ecpdu: EcpPdu, source: MacAddress, now: number, accept = true): EcpReceiveEffect[] {
    if (ecpdu.subtype !== this.#dialect.subtype) {
      this.counters.rxUnknownSubtype++;
      return [];
    }
    const duplicate =
      this.state === 'RECEIVE_WAIT_2' &&
      source === this.#lastSource &&
      ecpdu.sequence === this.#lastSequence &&
      now <= this.#lastHeard + (this.timing.maxRetries + 1) * this.timing.ackTimer;
    if (!duplicate && !accept) {
      this.counters.rxRefused++;
      return [];
    }
    this.counters.rxFrameCount++;
    this.state = 'RECEIVE_WAIT_2';
    this.#lastHeard = now;
    const ack: EcpReceiveEffect = { kind: 'send', ecpdu: this.#dialect.encodeAck(ecpdu) };
    if (duplicate) {
      this.counters.rxDuplicates++;
      return [ack];
    }
    this.#lastSequence = ecpdu.sequence;
    this.#lastSource = source;
    // The ack goes out before VDP looks at the payload, as every peer does.
    return [ack, { kind: 'indicate', ulpdu: ecpdu.ulpdu }];
  }

  /** The LLDP neighbour went or changed: its next number, whatever it is, is new (ecp.md 1.4). */
  reset(dialect = this.#dialect): void {
    this.#dialect = dialect;
    this.state = 'RECEIVE_WAIT';
  }
}
