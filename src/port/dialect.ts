import {
  ECP_DRAFT,
  ECP_DRAFT_RETRIES,
  ECP_RATIFIED,
  type EcpDialect,
  type EcpTiming,
} from '../../protocols/ecp/index.ts';
import {
  ETHERTYPE_ECP,
  ETHERTYPE_ECP_DRAFT,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { confirms, hears } from '../../protocols/evb/index.ts';
import type { EvbParameters, Lldpdu } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  VDP_COUNTLESS,
  VDP_DRAFT_TIMERS,
  VDP_RATIFIED,
  type VdpDialect,
  type VdpTimers,
  vdpDraft,
  vdpTimers,
} from '../../protocols/vdp/index.ts';
import type { DialectName } from '../model.ts';

/** EVB TLVs of an LLDPDU, of either dialect. */
export type EvbTlvs = Pick<Lldpdu, 'evb' | 'evbDraft'>;

/** The standard or its draft 0.2, as a port speaks it (interop-notes.md 1). */
export interface Dialect {
  readonly name: DialectName;
  readonly etherType: number;
  /** Group address of ECP. */
  readonly destination: MacAddress;
  readonly ecp: EcpDialect;
  readonly vdp: VdpDialect;
  /** Whether this LLDPDU carries the dialect's EVB TLV. */
  heardIn(lldpdu: EvbTlvs): boolean;
  /** Whether this LLDPDU shows that its sender has heard ours. */
  hears(lldpdu: EvbTlvs, own: EvbTlvs): boolean;
  /** `operational`: what was negotiated, where the dialect negotiates. */
  timers(operational: EvbParameters): VdpTimers;
  ecpTiming(operational: EvbParameters): EcpTiming;
}

export interface DialectOptions {
  role: 'station' | 'bridge';
  /** Where a small manager id stands in the 16 octets. */
  managerOctet: 'first' | 'last';
  /** absent: VSI TLVs are sent without the number of their filters, and taken with and without (interop-notes.md 3). */
  filterCount: 'present' | 'absent';
  /** Retransmissions of draft ECP have numbers of their own. */
  draftRenumber: boolean;
}

export function dialects(options: DialectOptions): Readonly<Record<DialectName, Dialect>> {
  return {
    ratified: {
      name: 'ratified',
      etherType: ETHERTYPE_ECP,
      destination: NEAREST_CUSTOMER_BRIDGE,
      ecp: ECP_RATIFIED,
      vdp: options.filterCount === 'absent' ? VDP_COUNTLESS : VDP_RATIFIED,
      heardIn: ({ evb }) => evb !== undefined,
      hears: ({ evb }, own) => evb !== undefined && own.evb !== undefined && hears(evb, own.evb),
      timers: vdpTimers,
      ecpTiming: (operational) => ({
        maxRetries: operational.r,
        ackTimer: vdpTimers(operational).ackTimer,
      }),
    },
    draft: {
      name: 'draft',
      etherType: ETHERTYPE_ECP_DRAFT,
      destination: NEAREST_BRIDGE,
      ecp: ECP_DRAFT,
      vdp: vdpDraft(options.role, options.managerOctet),
      heardIn: ({ evbDraft }) => evbDraft !== undefined,
      hears: ({ evbDraft }) => evbDraft !== undefined && confirms(evbDraft),
      timers: () => VDP_DRAFT_TIMERS,
      ecpTiming: () => ({
        maxRetries: ECP_DRAFT_RETRIES,
        ackTimer: VDP_DRAFT_TIMERS.ackTimer,
        renumber: options.draftRenumber,
      }),
    },
  };
}

/** LLDPDU intervals without a ratified TLV after which a peer that sends the draft's is believed to speak no other. */
export const DRAFT_AFTER = 3;

/** `protocol: auto`: which dialect the neighbours speak. The ratified one until only the draft's TLV was seen for a while. */
export class DialectFinder {
  #draftSince: number | undefined;

  /**
   * The dialect that is to be spoken from now on. `peer`: the EVB peer of the present dialect, where it is to be trusted; only it
   * can make us leave the draft while it lives. `msgTxInterval` in seconds.
   */
  find(
    present: DialectName,
    neighbours: readonly EvbTlvs[],
    peer: EvbTlvs | undefined,
    msgTxInterval: number,
    now: number,
  ): DialectName {
    const isRatified = ({ evb }: EvbTlvs) => evb !== undefined;
    if (present === 'draft') {
      const speakers = peer === undefined ? neighbours : [peer];
      return speakers.some(isRatified) ? 'ratified' : 'draft';
    }
    const draftOnly =
      neighbours.some(({ evbDraft }) => evbDraft !== undefined) && !neighbours.some(isRatified);
    this.#draftSince = draftOnly ? (this.#draftSince ?? now) : undefined;
    return now >= this.deadline(msgTxInterval) ? 'draft' : 'ratified';
  }

  /** When the draft is to be spoken, if nothing changes. */
  deadline(msgTxInterval: number): number {
    if (this.#draftSince === undefined) return Number.POSITIVE_INFINITY;
    return this.#draftSince + DRAFT_AFTER * msgTxInterval * 1_000;
  }
}
