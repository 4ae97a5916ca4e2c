import {
  DecodeError,
  fromHex,
  macFromOctets,
  OctetReader,
  OctetWriter,
  organization,
  readTlv,
  TLV_MAX_LENGTH,
  TLV_ORGANIZATIONALLY_SPECIFIC,
  type Tlv,
  toHex,
  uuidFromOctets,
  writeTlv,
} from '../octets/index.ts';
import {
  decodeFilterEntry,
  encodeFilterEntry,
  type FilterEntry,
  filterEntrySize,
  filterFormatOf,
} from './filter.ts';

export type VdpRequest = 'preassociate' | 'reserve' | 'associate' | 'deassociate';

const REQUESTS: readonly VdpRequest[] = ['preassociate', 'reserve', 'associate', 'deassociate'];
const END = 0;
const MANAGER_ID = 5;

export const VSIID_IPV4 = 1;
export const VSIID_IPV6 = 2;
export const VSIID_MAC = 3;
export const VSIID_LOCAL = 4;
export const VSIID_UUID = 5;

/** Status octet (vdp.md 1.4). */
export const STATUS_ACK = 0x40;
/** In a request: S, the VSI is suspended or migrates from here. In an answer: Keep. */
export const STATUS_S_KEEP = 0x20;
/** In a request: M, the VSI migrates to here. In an answer: Hard error. */
export const STATUS_M_HARD = 0x10;
const STATUS_ERROR = 0x0f;

export const VDP_SUCCESS = 0;
export const VDP_INVALID_FORMAT = 1;
export const VDP_INSUFFICIENT_RESOURCES = 2;
export const VDP_MANAGER_UNREACHABLE = 3;
export const VDP_OTHER_FAILURE = 4;
export const VDP_INVALID_FILTER = 5;

const ERROR_NAMES = [
  'success',
  'invalid format',
  'insufficient resources',
  'unable to contact the VSI manager',
  'other failure',
  'invalid VID, GroupID or MAC',
];

export function vdpErrorName(error: number): string {
  return ERROR_NAMES[error] ?? `reserved error ${error}`;
}

export interface VsiStatusField {
  ack: boolean;
  keep: boolean;
  hard: boolean;
  error: number;
}

export function decodeStatus(status: number): VsiStatusField {
  return {
    ack: (status & STATUS_ACK) !== 0,
    keep: (status & STATUS_S_KEEP) !== 0,
    hard: (status & STATUS_M_HARD) !== 0,
    error: status & STATUS_ERROR,
  };
}

/** Type and version of a VSI, and which VSI: what a request says besides its filters. */
export interface VsiIdentity {
  /** 16 octets, opaque (vdp.md 1.1). */
  manager: Uint8Array;
  /** 24 bit. */
  type: number;
  typeVersion: number;
  /** VSIID_UUID, ... */
  idFormat: number;
  /** 16 octets. */
  id: Uint8Array;
}

/** An organizationally specific TLV behind a VSI TLV (vdp.md 1.6): `kind` is OUI and subtype as one number. */
export interface OrgTlv {
  kind: number;
  payload: Uint8Array;
}

/** VSI TLV, types 1..4 (vdp.md 1.2). */
export interface VsiTlv extends Omit<VsiIdentity, 'manager'> {
  request: VdpRequest;
  /** The octet as on the wire; decodeStatus tells its bits. */
  status: number;
  filterFormat: number;
  filters: FilterEntry[];
  org?: OrgTlv[];
}

/** A VSI TLV that cannot be processed. A bridge answers it with error 1 when its 23 fixed octets are there. */
export interface InvalidVsiTlv {
  request: VdpRequest;
  value: Uint8Array;
  reason: string;
  offset: number;
}

export interface VdpPdu {
  manager: Uint8Array;
  vsis: VsiTlv[];
  invalid: InvalidVsiTlv[];
  /** Reserved TLV types, kept as received. */
  unknown: Tlv[];
}

/** Octets in front of the Filter Info entries. */
const VSI_FIXED = 25;
/** Status to VSIID and filter format: what an answer to an invalid TLV must be able to echo. */
const VSI_READABLE = 23;

/**
 * The ULPDU of an ECPDU. Throws DecodeError when the first TLV is not the one and only VSI Manager ID or a TLV runs beyond the
 * end; then nothing of the PDU is processed. A VSI TLV of a wrong length is set aside in `invalid`, the others stand.
 * `countless`: VSI TLVs are read also without the number of their filters (interop-notes.md 3).
 */
export function decodeVdp(octets: Uint8Array, countless = false): VdpPdu {
  const reader = new OctetReader(octets);
  const first = readTlv(reader);
  if (first.type !== MANAGER_ID) throw new DecodeError('the first TLV is no VSI Manager ID', first.offset);
  if (first.value.remaining !== 16) {
    throw new DecodeError(`a VSI Manager ID of ${first.value.remaining} octets`, first.offset);
  }
  const pdu: VdpPdu = { manager: first.value.rest(), vsis: [], invalid: [], unknown: [] };
  let last: VsiTlv | undefined;
  // One octet cannot be a TLV: it is padding of an odd frame.
  while (reader.remaining >= 2) {
    const { type, offset, value } = readTlv(reader);
    if (type === END) break;
    if (type === MANAGER_ID) throw new DecodeError('a second VSI Manager ID', offset);
    const request = REQUESTS[type - 1];
    if (request !== undefined) {
      const raw = value.rest();
      try {
        last = decodeVsi(request, raw, countless);
        pdu.vsis.push(last);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        last = undefined;
        pdu.invalid.push({ request, value: raw, reason: error.reason, offset: offset + 2 + error.offset });
      }
    } else if (type === TLV_ORGANIZATIONALLY_SPECIFIC && value.remaining >= 4 && last !== undefined) {
      last.org ??= [];
      last.org.push({ kind: organization(value.u24('OUI'), value.u8('subtype')), payload: value.rest() });
    } else {
      pdu.unknown.push({ type, value: value.rest() });
    }
  }
  return pdu;
}

function decodeVsi(request: VdpRequest, octets: Uint8Array, countless: boolean): VsiTlv {
  const reader = new OctetReader(octets);
  const status = reader.u8('status');
  const type = reader.u24('VSI type id');
  const typeVersion = reader.u8('VSI type version');
  const idFormat = reader.u8('VSIID format');
  const id = reader.take(16, 'VSIID');
  const filterFormat = reader.u8('filter info format');
  const size = filterEntrySize(filterFormat);
  if (size === undefined)
    throw new DecodeError(`unknown filter info format ${filterFormat}`, VSI_READABLE - 1);
  const behind = reader.remaining;
  const entries =
    countless && behind % size === 0 && !isCounted(octets, size)
      ? behind / size
      : reader.u16('number of entries');
  if (entries === 0) throw new DecodeError('no filter info entries', VSI_READABLE);
  if (reader.remaining !== entries * size) {
    throw new DecodeError(
      `${entries} filter info entries of ${size} octets in ${reader.remaining}`,
      VSI_READABLE,
    );
  }
  const filters = Array.from({ length: entries }, () => decodeFilterEntry(reader, filterFormat));
  return { request, status, type, typeVersion, idFormat, id, filterFormat, filters };
}

/** Of entries of two octets the first may be their number: one that fits is believed. No other size fits both forms. */
function isCounted(octets: Uint8Array, size: number): boolean {
  const reader = new OctetReader(octets.subarray(VSI_READABLE));
  return reader.u16('number of entries') * size === reader.remaining;
}

/** The octets of one VSI TLV with its header and its organizationally specific TLVs. */
export function encodeVsi(vsi: VsiTlv): Uint8Array {
  return encodeVsiForm(vsi, false);
}

/** The same without the number of filters. */
export function encodeVsiCountless(vsi: VsiTlv): Uint8Array {
  return encodeVsiForm(vsi, true);
}

function encodeVsiForm(vsi: VsiTlv, countless: boolean): Uint8Array {
  const value = new OctetWriter(VSI_FIXED + 12 * vsi.filters.length)
    .u8(vsi.status)
    .u24(vsi.type)
    .u8(vsi.typeVersion)
    .u8(vsi.idFormat)
    .octets(vsi.id)
    .u8(vsi.filterFormat);
  if (!countless) value.u16(vsi.filters.length);
  for (const entry of vsi.filters) encodeFilterEntry(value, vsi.filterFormat, entry);
  const writer = new OctetWriter();
  writeTlv(writer, 1 + REQUESTS.indexOf(vsi.request), value.finish());
  for (const { kind, payload } of vsi.org ?? []) {
    const tlv = new OctetWriter().u32(kind).octets(payload).finish();
    writeTlv(writer, TLV_ORGANIZATIONALLY_SPECIFIC, tlv);
  }
  return writer.finish();
}

/**
 * The same answer as a station reads it: a VSI TLV without filters, though none may be sent. Undefined when it is something
 * else that could not be read.
 */
export function invalidFormatAnswer(invalid: InvalidVsiTlv): VsiTlv | undefined {
  const { request, value } = invalid;
  const answers =
    value.length >= VSI_READABLE && (value[0]! & STATUS_ACK) !== 0 && (value[0]! & STATUS_ERROR) !== 0;
  if (!answers) return undefined;
  const reader = new OctetReader(value);
  return {
    request,
    status: reader.u8('status'),
    type: reader.u24('VSI type id'),
    typeVersion: reader.u8('VSI type version'),
    idFormat: reader.u8('VSIID format'),
    id: reader.take(16, 'VSIID'),
    filterFormat: reader.u8('filter info format'),
    filters: [],
  };
}

/** How many entries of a format one TLV can hold (vdp.md 1.2). */
export function filterEntriesMax(format: number): number {
  return Math.floor((TLV_MAX_LENGTH - VSI_FIXED) / filterEntrySize(format)!);
}

/** Octets that a PDU needs besides its VSI TLVs: the Manager ID, and the End TLV that stops lldpad's parser. */
export const VDP_OVERHEAD = 18 + 2;

/** Manager ID, the VSI TLVs as given (encodeVsi), End TLV. */
export function encodeVdp(manager: Uint8Array, vsis: readonly Uint8Array[]): Uint8Array {
  const writer = new OctetWriter(512);
  writeTlv(writer, MANAGER_ID, manager);
  for (const vsi of vsis) writer.octets(vsi);
  return writer.u16(END).finish();
}

/**
 * Answer to a VSI TLV that could not be read: DeAssociate with error 1, echoing what came (vdp.md 1.2). Undefined when even the
 * 23 fixed octets are missing: then there is nobody to answer.
 */
export function encodeInvalidFormat(invalid: InvalidVsiTlv): Uint8Array | undefined {
  if (invalid.value.length < VSI_READABLE) return undefined;
  const value = new OctetWriter(invalid.value.length).u8(STATUS_ACK | VDP_INVALID_FORMAT);
  value.octets(invalid.value.subarray(1, VSI_READABLE)).u16(0);
  const writer = new OctetWriter();
  writeTlv(writer, 1 + REQUESTS.indexOf('deassociate'), value.finish());
  return writer.finish();
}

/** Key of a VSI within a port: VSIID format and VSIID (vdp.md 2.1). */
export function vsiKey(vsi: Pick<VsiIdentity, 'idFormat' | 'id'>): string {
  return `${vsi.idFormat}:${toHex(vsi.id)}`;
}

/** What is one VSI to lldpad: type, manager and filter format belong to the identity (vdp.md 2.1). */
export function lldpadVsiKey(vsi: VsiIdentity & { filters: readonly FilterEntry[] }): string {
  const { type, typeVersion, manager, filters } = vsi;
  return `${vsiKey(vsi)}:${toHex(manager)}:${type}:${typeVersion}:${filterFormatOf(filters)}`;
}

const ID_FORMAT_NAMES: Record<number, string> = {
  [VSIID_IPV4]: 'ipv4',
  [VSIID_IPV6]: 'ipv6',
  [VSIID_MAC]: 'mac',
  [VSIID_LOCAL]: 'local',
  [VSIID_UUID]: 'uuid',
};

export function idFormatName(format: number): string {
  return ID_FORMAT_NAMES[format] ?? `reserved ${format}`;
}

/** The VSIID as people write it: a UUID, an address, or 32 hex digits (vdp.md 1.3). */
export function vsiIdText({ idFormat, id }: Pick<VsiIdentity, 'idFormat' | 'id'>): string {
  switch (idFormat) {
    case VSIID_UUID:
      return uuidFromOctets(id);
    case VSIID_MAC:
      return macFromOctets(id.subarray(10));
    case VSIID_IPV4:
      return id.subarray(12).join('.');
    case VSIID_IPV6:
      return ipv6Text(id);
    default:
      return toHex(id);
  }
}

/** The same, with format and hex digits where the short form would be that of another VSIID too: no two VSIs look alike. */
export function vsiName({ idFormat, id }: Pick<VsiIdentity, 'idFormat' | 'id'>): string {
  const zeros = (length: number) => id.subarray(0, length).every((octet) => octet === 0);
  const isMapped = zeros(10) && id[10] === 0xff && id[11] === 0xff;
  const isUsual =
    idFormat === VSIID_MAC
      ? zeros(10)
      : idFormat === VSIID_IPV4
        ? isMapped
        : idFormat >= VSIID_IPV6 && idFormat <= VSIID_UUID;
  return isUsual ? vsiIdText({ idFormat, id }) : `${idFormat}:${toHex(id)}`;
}

/** RFC 5952: lower case, the longest run of two or more zero groups as `::`. */
function ipv6Text(octets: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (octets[2 * i]! << 8) | octets[2 * i + 1]!);
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  return best.start < 0 ? hex(0, 8) : `${hex(0, best.start)}::${hex(best.start + best.length, 8)}`;
}

/** IPv6 text (also with an embedded IPv4 tail) to 16 octets; undefined when it is no address. */
export function parseIpv6(text: string): Uint8Array | undefined {
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (tail) {
    const v4 = parseIpv4(tail[2]!);
    if (v4 === undefined) return undefined;
    return parseIpv6(`${tail[1]}${toHex(v4.subarray(0, 2))}:${toHex(v4.subarray(2))}`);
  }
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string | undefined) => (half === undefined || half === '' ? [] : half.split(':'));
  const left = groups(halves[0]);
  const right = groups(halves[1]);
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...left, ...Array<string>(missing).fill('0'), ...right];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return fromHex(all.map((group) => group.padStart(4, '0')).join(''));
}

export function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255))
    return undefined;
  return Uint8Array.from(parts, Number);
}
