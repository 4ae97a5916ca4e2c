import {
  DecodeError,
  OctetReader,
  OctetWriter,
  organization,
  readTlv,
  TLV_MAX_LENGTH,
  TLV_ORGANIZATIONALLY_SPECIFIC,
  type Tlv,
  writeTlv,
} from '../octets/index.ts';
import type { VdpRequest } from './codec.ts';
import { decodeFilterEntry, encodeFilterEntry, FILTER_MAC_VID, type FilterEntry } from './filter.ts';

const REQUESTS: readonly VdpRequest[] = ['preassociate', 'reserve', 'associate', 'deassociate'];
const END = 0;
const VSI = organization(0x001b3f, 0x02);
/** Octets of a VSI TLV's value in front of its MAC/VID pairs. */
const FIXED = 30;
const PAIR = 8;
/** MAC/VID pairs that one TLV can hold. */
export const VDP_DRAFT_PAIRS_MAX = Math.floor((TLV_MAX_LENGTH - FIXED) / PAIR);

const RESPONSE_NAMES = [
  'success',
  'invalid format',
  'insufficient resources',
  'unused VTID',
  'VTID violation',
  'VTID version violation',
  'out of sync',
];

export function vdpDraftResponseName(response: number): string {
  return RESPONSE_NAMES[response] ?? `reserved response ${response}`;
}

/** VSI TLV of draft 0.2 (vdp.md 5.1). A switch answers with the request's TLV and its result in `response`. */
export interface VsiDraftTlv {
  request: VdpRequest;
  /** 0 in a request and for success. */
  response: number;
  /** 8 bit. */
  manager: number;
  /** 24 bit. */
  type: number;
  typeVersion: number;
  /** 16 octets, a UUID. */
  id: Uint8Array;
  /** MAC and VID each, no PCP: the only format that anybody implements. */
  filters: FilterEntry[];
}

export interface VdpDraftPdu {
  vsis: VsiDraftTlv[];
  /** VSI TLVs that cannot be read; nobody answers them. */
  invalid: { value: Uint8Array; reason: string; offset: number }[];
  /** Other TLVs as received. */
  unknown: Tlv[];
}

/** The ULPDU of a draft ECPDU. Throws DecodeError when a TLV runs beyond the end. */
export function decodeVdpDraft(octets: Uint8Array): VdpDraftPdu {
  const reader = new OctetReader(octets);
  const pdu: VdpDraftPdu = { vsis: [], invalid: [], unknown: [] };
  while (reader.remaining >= 2) {
    const { type, offset, value } = readTlv(reader);
    if (type === END) break;
    const raw = value.rest();
    if (!isVsi(type, raw)) {
      pdu.unknown.push({ type, value: raw });
      continue;
    }
    try {
      pdu.vsis.push(decodeVsi(raw));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      pdu.invalid.push({ value: raw, reason: error.reason, offset: offset + 2 + error.offset });
    }
  }
  return pdu;
}

function isVsi(type: number, value: Uint8Array): boolean {
  if (type !== TLV_ORGANIZATIONALLY_SPECIFIC || value.length < 4) return false;
  return new OctetReader(value).u32('OUI and subtype') === VSI;
}

function decodeVsi(value: Uint8Array): VsiDraftTlv {
  const reader = new OctetReader(value, 4);
  const mode = reader.u8('mode');
  const request = REQUESTS[mode];
  if (request === undefined) throw new DecodeError(`unknown mode ${mode}`, 4);
  const response = reader.u8('response');
  if (RESPONSE_NAMES[response] === undefined) throw new DecodeError(`reserved response ${response}`, 5);
  const manager = reader.u8('manager id');
  const type = reader.u24('type id');
  const typeVersion = reader.u8('type version');
  const id = reader.take(16, 'VSI instance id');
  const format = reader.u8('format');
  if (format !== FILTER_MAC_VID) throw new DecodeError(`filter format ${format}, not MAC/VID`, FIXED - 3);
  const entries = reader.u16('number of entries');
  if (entries === 0 || reader.remaining < entries * PAIR) {
    throw new DecodeError(`${entries} MAC/VID pairs in ${reader.remaining} octets`, FIXED - 2);
  }
  const filters = Array.from({ length: entries }, () => {
    const { mac, vid } = decodeFilterEntry(reader, FILTER_MAC_VID);
    return { mac: mac!, vid };
  });
  return { request, response, manager, type, typeVersion, id, filters };
}

/** The octets of one VSI TLV. More than VDP_DRAFT_PAIRS_MAX pairs in one are a caller's mistake: RangeError. */
export function encodeVsiDraft(vsi: VsiDraftTlv): Uint8Array {
  const { request, response, manager, type, typeVersion, id, filters } = vsi;
  const value = new OctetWriter(FIXED + PAIR * filters.length)
    .u32(VSI)
    .u8(REQUESTS.indexOf(request))
    .u8(response)
    .u8(manager)
    .u24(type)
    .u8(typeVersion)
    .octets(id)
    .u8(FILTER_MAC_VID)
    .u16(filters.length);
  for (const { mac, vid } of filters) encodeFilterEntry(value, FILTER_MAC_VID, { mac: mac!, vid });
  const writer = new OctetWriter();
  writeTlv(writer, TLV_ORGANIZATIONALLY_SPECIFIC, value.finish());
  return writer.finish();
}

/** Octets that a PDU needs besides its VSI TLVs. */
export const VDP_DRAFT_OVERHEAD = 2;

/** The VSI TLVs as given (encodeVsiDraft) and an End TLV. */
export function encodeVdpDraft(vsis: readonly Uint8Array[]): Uint8Array {
  const writer = new OctetWriter(512);
  for (const vsi of vsis) writer.octets(vsi);
  return writer.u16(END).finish();
}
