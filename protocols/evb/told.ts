import type { EvbParameters } from '../lldp-codec/index.ts';
import { sameOctets } from '../octets/index.ts';

export type EvbEffect =
  /** Our TLV changed: LLDP localChange. */
  | { kind: 'localChange' }
  /** An EVB peer of the other mode is there; VDP may begin. */
  | { kind: 'up' }
  /** It is gone: TLV withdrawn, shutdown, ageing, link down. */
  | { kind: 'down'; reason: string }
  /** It is there, and speaks VDP no longer (draft). */
  | { kind: 'vdpDown'; reason: string }
  /** Station: reflective relay in effect changed. Bridge: the port is to reflect, or no longer. */
  | { kind: 'relay'; active: boolean; reason: string }
  | { kind: 'operational'; parameters: EvbParameters }
  /** The peer came back without its state: ask every VSI again (evb-tlv.md 1.8). */
  | { kind: 'peerRestarted'; reason: string };

/** What an EVB machine has last told: its TLV, and where the dialect negotiates them the operational values. */
export class Told<Tlv> {
  tlv: Tlv;
  operational: EvbParameters | undefined;
  readonly #encode: (tlv: Tlv) => Uint8Array;

  constructor(encode: (tlv: Tlv) => Uint8Array, tlv: Tlv, operational?: EvbParameters) {
    this.#encode = encode;
    this.tlv = tlv;
    this.operational = operational;
  }

  /** What is news of it. `changes` come behind new operational values, so that what they set off runs with those. */
  update(tlv: Tlv, changes: readonly EvbEffect[], operational?: EvbParameters): EvbEffect[] {
    const effects: EvbEffect[] = [];
    if (operational !== undefined && !sameParameters(operational, this.operational!)) {
      this.operational = operational;
      effects.push({ kind: 'operational', parameters: operational });
    }
    effects.push(...changes);
    if (!sameOctets(this.#encode(tlv), this.#encode(this.tlv))) {
      this.tlv = tlv;
      effects.push({ kind: 'localChange' });
    }
    return effects;
  }
}

function sameParameters(a: EvbParameters, b: EvbParameters): boolean {
  return a.r === b.r && a.rte === b.rte && a.rwd === b.rwd && a.rka === b.rka;
}
