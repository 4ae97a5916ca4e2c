import {
  decodeStatus,
  decodeVdp,
  encodeVdp,
  encodeVsi,
  encodeVsiCountless,
  STATUS_ACK,
  VDP_INSUFFICIENT_RESOURCES,
  VDP_INVALID_FILTER,
  VDP_INVALID_FORMAT,
  VDP_MANAGER_UNREACHABLE,
  VDP_OTHER_FAILURE,
  VDP_OVERHEAD,
  VDP_SUCCESS,
  type VdpPdu,
  VSIID_UUID,
  type VsiTlv,
  vdpErrorName,
} from './codec.ts';
import type { VsiCommand } from './command.ts';
import {
  decodeVdpDraft,
  encodeVdpDraft,
  encodeVsiDraft,
  VDP_DRAFT_OVERHEAD,
  VDP_DRAFT_PAIRS_MAX,
  type VsiDraftTlv,
  vdpDraftResponseName,
} from './draft.ts';
import { FILTER_MAC_VID } from './filter.ts';

/** What differs between ratified and draft VDP; the machines are the same (vdp.md 1 and 5). */
export interface VdpDialect {
  /** Octets of a PDU besides its VSI TLVs. */
  readonly overhead: number;
  /** A PDU is about VSIs of one manager only. */
  readonly oneManager: boolean;
  /** A refused change can leave the command of before in force; refusals go out under DeAssociate. */
  readonly keeps: boolean;
  /** RangeError for what objection() names. */
  encodeVsi(vsi: VsiTlv, manager: Uint8Array): Uint8Array;
  encodePdu(manager: Uint8Array, vsis: readonly Uint8Array[]): Uint8Array;
  /** By manager; `invalid`: VSI TLVs that could not be read. Throws DecodeError. */
  decode(ulpdu: Uint8Array): { pdus: VdpPdu[]; invalid: number };
  /** Why this dialect has no words for a command; undefined when it has. */
  objection(command: Pick<VsiCommand, 'manager' | 'idFormat' | 'filters'>): string | undefined;
  errorName(error: number): string;
}

function ratified(countless: boolean): VdpDialect {
  return {
    overhead: VDP_OVERHEAD,
    oneManager: true,
    keeps: true,
    encodeVsi: countless ? encodeVsiCountless : encodeVsi,
    encodePdu: encodeVdp,
    decode(ulpdu) {
      const pdu = decodeVdp(ulpdu, countless);
      return { pdus: [pdu], invalid: pdu.invalid.length };
    },
    objection: () => undefined,
    errorName: vdpErrorName,
  };
}

export const VDP_RATIFIED = ratified(false);
/** As some late drafts of the standard have it. */
export const VDP_COUNTLESS = ratified(true);

/** Our errors in the draft's words. Its `unused VTID` is what a bridge without a fitting profile means. */
const RESPONSES: Readonly<Record<number, number>> = {
  [VDP_SUCCESS]: 0,
  [VDP_INVALID_FORMAT]: 1,
  [VDP_INSUFFICIENT_RESOURCES]: 2,
  [VDP_MANAGER_UNREACHABLE]: 6,
  [VDP_OTHER_FAILURE]: 3,
  [VDP_INVALID_FILTER]: 4,
};
const MANAGER_LENGTH = 16;

/**
 * Draft 0.2 has no ack bit: what a bridge sends are answers, what a station sends are requests; `role` is who reads and writes
 * here. Its manager id is one octet, the `managerOctet` of ours.
 */
export function vdpDraft(role: 'station' | 'bridge', managerOctet: 'first' | 'last'): VdpDialect {
  const at = managerOctet === 'first' ? 0 : MANAGER_LENGTH - 1;
  const wide = (id: number) => {
    const manager = new Uint8Array(MANAGER_LENGTH);
    manager[at] = id;
    return manager;
  };
  const read = ({ response, manager: _, ...rest }: VsiDraftTlv): VsiTlv => ({
    ...rest,
    // A negative answer ends the VSI, whatever it had been asked (vdp.md 5.3).
    request: response === 0 ? rest.request : 'deassociate',
    status: role === 'station' ? STATUS_ACK | response : 0,
    idFormat: VSIID_UUID,
    filterFormat: FILTER_MAC_VID,
  });
  return {
    overhead: VDP_DRAFT_OVERHEAD,
    oneManager: false,
    keeps: false,
    encodeVsi({ request, status, type, typeVersion, id, filters }, manager) {
      const response = RESPONSES[decodeStatus(status).error] ?? 0;
      return encodeVsiDraft({ request, response, manager: manager[at]!, type, typeVersion, id, filters });
    },
    encodePdu: (_, vsis) => encodeVdpDraft(vsis),
    decode(ulpdu) {
      const { vsis, invalid } = decodeVdpDraft(ulpdu);
      // To a bridge a result in a request says nothing.
      const readable = role === 'bridge' ? vsis.map((vsi) => ({ ...vsi, response: 0 })) : vsis;
      const managers = new Map<number, VdpPdu>();
      for (const vsi of readable) {
        const pdu = managers.get(vsi.manager) ?? {
          manager: wide(vsi.manager),
          vsis: [],
          invalid: [],
          unknown: [],
        };
        managers.set(vsi.manager, pdu);
        pdu.vsis.push(read(vsi));
      }
      return { pdus: [...managers.values()], invalid: invalid.length };
    },
    objection({ manager, idFormat, filters }) {
      if (idFormat !== VSIID_UUID) return 'draft 0.2 knows a VSI by its UUID only';
      if (filters.some(({ mac, group }) => mac === undefined || group !== undefined))
        return 'draft 0.2 knows only filters of MAC and VID';
      if (filters.some(({ pcp }) => pcp !== undefined)) return 'draft 0.2 has no PCP in its filters';
      if (filters.length > VDP_DRAFT_PAIRS_MAX)
        return `draft 0.2 takes ${VDP_DRAFT_PAIRS_MAX} filters for a VSI`;
      if (manager.some((octet, i) => octet !== 0 && i !== at))
        return 'draft 0.2 has manager ids from 0 to 255 only';
      return undefined;
    },
    errorName: vdpDraftResponseName,
  };
}
