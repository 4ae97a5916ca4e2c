import { ECP_ULPDU_MAX } from '../../protocols/ecp/index.ts';
import { sameOctets } from '../../protocols/octets/index.ts';
import { encodeVdp, VDP_OVERHEAD } from '../../protocols/vdp/index.ts';

interface Waiting {
  manager: Uint8Array;
  tlv: Uint8Array;
}

/**
 * VSI TLVs that wait for the ECP transmitter, in the order in which their VSIs first asked. They are packed into one ECPDU as
 * far as the frame's limit and the common Manager ID allow; a newer TLV of a VSI replaces one that has not left yet.
 */
export class Outbox {
  readonly #waiting = new Map<string, Waiting>();
  readonly #perEcpdu: number;

  /** `perEcpdu`: VSI TLVs in one ECPDU at most; 1 toward a peer that loses all but the first. */
  constructor(perEcpdu = Number.POSITIVE_INFINITY) {
    this.#perEcpdu = perEcpdu;
  }

  get size(): number {
    return this.#waiting.size;
  }

  put(key: string, manager: Uint8Array, tlv: Uint8Array): void {
    this.#waiting.set(key, { manager, tlv });
  }

  remove(key: string): void {
    this.#waiting.delete(key);
  }

  clear(): void {
    this.#waiting.clear();
  }

  /** The next ULPDU; undefined when nothing waits. */
  take(): Uint8Array | undefined {
    const [first] = this.#waiting.values();
    if (first === undefined) return undefined;
    const tlvs: Uint8Array[] = [];
    let room = ECP_ULPDU_MAX - VDP_OVERHEAD;
    for (const [key, { manager, tlv }] of this.#waiting) {
      if (tlvs.length >= this.#perEcpdu) break;
      if (tlv.length > room || !sameOctets(manager, first.manager)) continue;
      tlvs.push(tlv);
      room -= tlv.length;
      this.#waiting.delete(key);
    }
    return encodeVdp(first.manager, tlvs);
  }
}
