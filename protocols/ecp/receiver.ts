import type { MacAddress } from '../octets/index.ts';
import { ECP_SUBTYPE_VDP, ECP_VERSION, type Ecpdu, encodeEcpdu } from './codec.ts';

export type EcpReceiveState = 'RECEIVE_WAIT' | 'RECEIVE_WAIT_2';

export type EcpReceiveEffect = { kind: 'indicate'; ulpdu: Uint8Array } | { kind: 'send'; ecpdu: Uint8Array };

/**
 * ECP receive machine of one port and subtype (ecp.md 1.4). RECEIVE_FIRST, RECEIVE_ECPDU, NEW_ECPDU and SEND_ACK are passed
 * through within one call. The only duplicate is a request with the last sequence number from the last source.
 */
export class EcpReceiver {
  state: EcpReceiveState = 'RECEIVE_WAIT';
  readonly counters = { rxFrameCount: 0, rxDuplicates: 0, rxUnknownSubtype: 0, rxRefused: 0 };
  #lastSequence = -1;
  #lastSource: MacAddress | undefined;

  /**
   * `accept` false: the ULP has no room; the request is not acknowledged, so that the peer sends it again.
   * A subtype that nobody consumes is dropped without an ack.
   */
  request(ecpdu: Ecpdu, source: MacAddress, accept = true): EcpReceiveEffect[] {
    if (ecpdu.subtype !== ECP_SUBTYPE_VDP) {
      this.counters.rxUnknownSubtype++;
      return [];
    }
    const duplicate =
      this.state === 'RECEIVE_WAIT_2' && source === this.#lastSource && ecpdu.sequence === this.#lastSequence;
    if (!duplicate && !accept) {
      this.counters.rxRefused++;
      return [];
    }
    this.counters.rxFrameCount++;
    this.state = 'RECEIVE_WAIT_2';
    const ack: EcpReceiveEffect = {
      kind: 'send',
      ecpdu: encodeEcpdu({
        version: ECP_VERSION,
        operation: 'ack',
        subtype: ecpdu.subtype,
        sequence: ecpdu.sequence,
        ulpdu: new Uint8Array(),
      }),
    };
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
  reset(): void {
    this.state = 'RECEIVE_WAIT';
    this.#lastSource = undefined;
    this.#lastSequence = -1;
  }
}
