import { sameOctets } from '../../protocols/octets/index.ts';
import type { Dialect } from './dialect.ts';

interface Waiting {
  manager: Uint8Array;
  tlv: Uint8Array;
}

/**
 * VSI TLVs that wait for the ECP transmitter, in the order in which their VSIs first asked. They are packed into one ECPDU as
 * far as the frame's limit and, where the dialect has one for all, the Manager ID allow; a newer TLV of a VSI replaces one that has
 * not left yet.
 */
export class Outbox {
  readonly #waiting = new Map<string, Waiting>();

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

  /** The next ULPDU with `most` VSI TLVs at most, and the VSIs that it is about; undefined when nothing waits. */
  take(
    { ecp, vdp }: Dialect,
    most = Number.POSITIVE_INFINITY,
  ): { ulpdu: Uint8Array; keys: string[] } | undefined {
    const [first] = this.#waiting.values();
    if (first === undefined) return undefined;
    const tlvs: Uint8Array[] = [];
    const keys: string[] = [];
    let room = ecp.ulpduMax - vdp.overhead;
    for (const [key, { manager, tlv }] of this.#waiting) {
      if (tlvs.length >= most) break;
      if (tlv.length > room || (vdp.oneManager && !sameOctets(manager, first.manager))) continue;
      tlvs.push(tlv);
      keys.push(key);
      room -= tlv.length;
      this.#waiting.delete(key);
    }
    return { ulpdu: vdp.encodePdu(first.manager, tlvs), keys };
  }
}
