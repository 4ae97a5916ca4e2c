import { sameOctets } from '../octets/index.ts';
import { STATUS_M_HARD, STATUS_S_KEEP, type VdpRequest, type VsiIdentity, type VsiTlv } from './codec.ts';
import { type FilterEntry, filterFormatOf, filtersMatch } from './filter.ts';

/** Migration hint of a request: the S and the M bit (vdp.md 1.4). */
export type VdpHint = 'none' | 'from' | 'to';

/** A request as its machine knows it: what a station asks for, what a bridge was asked. */
export interface VsiCommand extends VsiIdentity {
  request: VdpRequest;
  filters: FilterEntry[];
  hint: VdpHint;
}

/** Where a VSI stands between its two sides (vdp.md 3). */
export type VsiState = 'DeAssoc' | 'PreAssoc' | 'PreAssocRR' | 'Assoc';

/** The state that a confirmed command leads to. */
export const VSI_STATE: Record<VdpRequest, VsiState> = {
  preassociate: 'PreAssoc',
  reserve: 'PreAssocRR',
  associate: 'Assoc',
  deassociate: 'DeAssoc',
};

export function commandOf(tlv: VsiTlv, manager: Uint8Array): VsiCommand {
  const { request, type, typeVersion, idFormat, id, filters } = tlv;
  return { request, manager, type, typeVersion, idFormat, id, filters, hint: hintOf(tlv.status) };
}

export function tlvOf(command: VsiCommand, status: number): VsiTlv {
  const { request, type, typeVersion, idFormat, id, filters } = command;
  return {
    request,
    status,
    type,
    typeVersion,
    idFormat,
    id,
    filterFormat: filterFormatOf(filters) ?? 0,
    filters,
  };
}

/** Status octet of a request; hints only go with (Pre)Associate. */
export function requestStatus({ request, hint }: VsiCommand): number {
  if (request === 'deassociate') return 0;
  return hint === 'from' ? STATUS_S_KEEP : hint === 'to' ? STATUS_M_HARD : 0;
}

/** Both bits set is invalid: neither counts. */
function hintOf(status: number): VdpHint {
  const bits = status & (STATUS_S_KEEP | STATUS_M_HARD);
  return bits === STATUS_S_KEEP ? 'from' : bits === STATUS_M_HARD ? 'to' : 'none';
}

/** Type, version, manager and filters of `other` are what `asked` says; the request kind is not compared (vdp.md 3, 4). */
export function sameAttributes(
  asked: Omit<VsiCommand, 'request' | 'hint'>,
  other: Omit<VsiCommand, 'request' | 'hint'>,
): boolean {
  return (
    sameOctets(asked.manager, other.manager) &&
    asked.type === other.type &&
    asked.typeVersion === other.typeVersion &&
    filtersMatch(asked.filters, other.filters)
  );
}
