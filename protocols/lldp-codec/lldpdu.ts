import {
  DecodeError,
  OctetReader,
  OctetWriter,
  organization,
  sameOctets,
  TLV_ORGANIZATIONALLY_SPECIFIC,
  type Tlv,
  toHex,
  writeTlv,
} from '../octets/index.ts';
import {
  decodeEvbDraftTlv,
  decodeEvbTlv,
  type EvbDraftTlv,
  type EvbTlv,
  encodeEvbDraftTlv,
  encodeEvbTlv,
} from './evb-tlv.ts';

const END = 0;
const CHASSIS_ID = 1;
const PORT_ID = 2;
const TIME_TO_LIVE = 3;
const PORT_DESCRIPTION = 4;
const SYSTEM_NAME = 5;
const SYSTEM_DESCRIPTION = 6;
const SYSTEM_CAPABILITIES = 7;
const MANAGEMENT_ADDRESS = 8;

const EVB = organization(0x0080c2, 0x0d);
const EVB_DRAFT = organization(0x001b3f, 0x00);

export const CHASSIS_ID_MAC = 4;
export const PORT_ID_MAC = 3;
export const LLDPDU_MAX = 1500;

/** Bits of the System Capabilities TLV that evbd sends (lldp.md 2). */
export const CAPABILITY_MAC_BRIDGE = 0x0004;
export const CAPABILITY_STATION_ONLY = 0x0080;

/** Subtype and 1..255 octets. The numbering of subtypes differs between chassis and port (lldp.md 2). */
export interface Identifier {
  subtype: number;
  id: Uint8Array;
}

export type LldpCounter =
  | 'statsFramesDiscardedTotal'
  | 'statsFramesInErrorsTotal'
  | 'statsTLVsDiscardedTotal'
  | 'statsTLVsUnrecognizedTotal';

/** A TLV that was passed over: why, where, and which counters of the agent it moves (lldp.md 7). */
export interface LldpduDefect {
  reason: string;
  offset: number;
  counters: readonly LldpCounter[];
}

export interface Lldpdu {
  chassisId: Identifier;
  portId: Identifier;
  /** Seconds; 0 is a shutdown. */
  ttl: number;
  evb?: EvbTlv;
  evbDraft?: EvbDraftTlv;
  portDescription?: string;
  systemName?: string;
  systemDescription?: string;
  capabilities?: { supported: number; enabled: number };
  /** Every other TLV as received, in order. */
  others: Tlv[];
}

/** The whole LLDPDU is to be discarded; `counters` are those of its row in lldp.md 7. */
export class LldpduError extends DecodeError {
  readonly counters: readonly LldpCounter[];

  constructor(reason: string, offset: number, counters: readonly LldpCounter[]) {
    super(reason, offset);
    this.counters = counters;
  }
}

const DISCARD_LLDPDU = ['statsFramesDiscardedTotal', 'statsFramesInErrorsTotal'] as const;
const DISCARD_TLV_IN_ERROR = ['statsTLVsDiscardedTotal', 'statsFramesInErrorsTotal'] as const;

/** Chassis and port identity of an LLDPDU's sender, comparable as text (MSAP identifier, lldp.md 6). */
export function msap(lldpdu: Pick<Lldpdu, 'chassisId' | 'portId'>): string {
  const text = ({ subtype, id }: Identifier) => `${subtype}:${toHex(id)}`;
  return `${text(lldpdu.chassisId)}/${text(lldpdu.portId)}`;
}

export function sameIdentifier(a: Identifier, b: Identifier): boolean {
  return a.subtype === b.subtype && sameOctets(a.id, b.id);
}

/** Validation rows of lldp.md 7: throws LldpduError where the LLDPDU is discarded, lists the TLVs it passes over as defects. */
export function decodeLldpdu(octets: Uint8Array): { lldpdu: Lldpdu; defects: LldpduDefect[] } {
  const reader = new OctetReader(octets);
  const defects: LldpduDefect[] = [];
  const next = () => readLldpTlv(reader);
  const chassisId = identifier(next(), CHASSIS_ID, 'Chassis ID');
  const portId = identifier(next(), PORT_ID, 'Port ID');
  const third = next();
  if (third?.type !== TIME_TO_LIVE || third.value.remaining < 2) {
    throw new LldpduError('the third TLV is no Time To Live', third?.offset ?? reader.offset, DISCARD_LLDPDU);
  }
  const lldpdu: Lldpdu = { chassisId, portId, ttl: third.value.u16('TTL'), others: [] };
  if (lldpdu.ttl === 0) return { lldpdu, defects };

  for (let tlv = next(); tlv !== undefined; tlv = next()) {
    if (tlv.type === END) {
      if (tlv.value.remaining > 0) {
        defects.push({
          reason: 'End TLV with a length',
          offset: tlv.offset,
          counters: ['statsFramesInErrorsTotal'],
        });
      }
      break;
    }
    if (tlv.type <= TIME_TO_LIVE) {
      throw new LldpduError(`a second TLV of type ${tlv.type}`, tlv.offset, DISCARD_LLDPDU);
    }
    const defect = optional(lldpdu, tlv.type, tlv.value);
    if (defect !== undefined) defects.push({ ...defect, offset: tlv.offset });
  }
  return { lldpdu, defects };
}

function readLldpTlv(reader: OctetReader): { type: number; offset: number; value: OctetReader } | undefined {
  if (reader.remaining === 0) return undefined;
  const offset = reader.offset;
  const overrun = [
    'statsFramesDiscardedTotal',
    'statsFramesInErrorsTotal',
    'statsTLVsDiscardedTotal',
  ] as const;
  if (reader.remaining < 2) throw new LldpduError('half a TLV header', offset, overrun);
  const header = reader.u16('TLV header');
  const length = header & 0x1ff;
  if (length > reader.remaining) {
    throw new LldpduError(`TLV of ${length} octets runs beyond the frame`, offset, overrun);
  }
  return { type: header >> 9, offset, value: reader.sub(length, 'TLV') };
}

function identifier(tlv: ReturnType<typeof readLldpTlv>, type: number, name: string): Identifier {
  if (tlv?.type !== type || tlv.value.remaining < 2 || tlv.value.remaining > 256) {
    throw new LldpduError(
      `${name} missing, misplaced or of a wrong length`,
      tlv?.offset ?? 0,
      DISCARD_LLDPDU,
    );
  }
  return { subtype: tlv.value.u8(name), id: tlv.value.rest() };
}

function optional(
  lldpdu: Lldpdu,
  type: number,
  value: OctetReader,
): Omit<LldpduDefect, 'offset'> | undefined {
  const length = value.remaining;
  const badLength = { reason: `TLV of type ${type} with ${length} octets`, counters: DISCARD_TLV_IN_ERROR };
  const octets = value.rest();
  const text = () => new TextDecoder('utf-8', { ignoreBOM: true }).decode(octets);
  switch (type) {
    case PORT_DESCRIPTION:
    case SYSTEM_NAME:
    case SYSTEM_DESCRIPTION: {
      if (length > 255) return badLength;
      if (type === PORT_DESCRIPTION) lldpdu.portDescription ??= text();
      else if (type === SYSTEM_NAME) lldpdu.systemName ??= text();
      else lldpdu.systemDescription ??= text();
      return undefined;
    }
    case SYSTEM_CAPABILITIES: {
      if (length !== 4) return badLength;
      const fields = new OctetReader(octets);
      lldpdu.capabilities ??= { supported: fields.u16('supported'), enabled: fields.u16('enabled') };
      return undefined;
    }
    case MANAGEMENT_ADDRESS:
      if (length < 9 || length > 167) return badLength;
      lldpdu.others.push({ type, value: octets });
      return undefined;
    case TLV_ORGANIZATIONALLY_SPECIFIC:
      if (length < 4) return badLength;
      return organizational(lldpdu, octets);
    default:
      lldpdu.others.push({ type, value: octets });
      return { reason: `unknown TLV type ${type}`, counters: ['statsTLVsUnrecognizedTotal'] };
  }
}

function organizational(lldpdu: Lldpdu, octets: Uint8Array): Omit<LldpduDefect, 'offset'> | undefined {
  const reader = new OctetReader(octets);
  const kind = organization(reader.u24('OUI'), reader.u8('subtype'));
  const counters = ['statsTLVsDiscardedTotal'] as const;
  try {
    if (kind === EVB) {
      if (lldpdu.evb !== undefined) return { reason: 'a second EVB TLV', counters };
      lldpdu.evb = decodeEvbTlv(reader);
      return undefined;
    }
    if (kind === EVB_DRAFT) {
      if (lldpdu.evbDraft !== undefined) return { reason: 'a second draft EVB TLV', counters };
      lldpdu.evbDraft = decodeEvbDraftTlv(reader);
      return undefined;
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return { reason: error.reason, counters };
  }
  lldpdu.others.push({ type: TLV_ORGANIZATIONALLY_SPECIFIC, value: octets });
  return {
    reason: `unknown organizationally specific TLV ${toHex(octets.subarray(0, 4))}`,
    counters: ['statsTLVsUnrecognizedTotal'],
  };
}

/**
 * Canonical order: mandatory TLVs, EVB, system TLVs, the others, End. What does not fit `maximum` octets is left out from the
 * end and counted in `dropped` (lldpduLengthErrors, lldp.md 5); a shutdown carries the mandatory TLVs only.
 */
export function encodeLldpdu(lldpdu: Lldpdu, maximum = LLDPDU_MAX): { octets: Uint8Array; dropped: number } {
  const writer = new OctetWriter();
  const identifierValue = ({ subtype, id }: Identifier) => Uint8Array.of(subtype, ...id);
  writeTlv(writer, CHASSIS_ID, identifierValue(lldpdu.chassisId));
  writeTlv(writer, PORT_ID, identifierValue(lldpdu.portId));
  writeTlv(writer, TIME_TO_LIVE, new OctetWriter(2).u16(lldpdu.ttl).finish());
  let dropped = 0;
  for (const tlv of lldpdu.ttl === 0 ? [] : optionalTlvs(lldpdu)) {
    if (writer.length + 2 + tlv.value.length + 2 > maximum) dropped++;
    else writeTlv(writer, tlv.type, tlv.value);
  }
  writer.u16(END);
  return { octets: writer.finish(), dropped };
}

function optionalTlvs(lldpdu: Lldpdu): Tlv[] {
  const tlvs: Tlv[] = [];
  const own = (oui: number, subtype: number, payload: Uint8Array) =>
    tlvs.push({
      type: TLV_ORGANIZATIONALLY_SPECIFIC,
      value: new OctetWriter().u24(oui).u8(subtype).octets(payload).finish(),
    });
  const text = (type: number, value: string | undefined) => {
    if (value === undefined) return;
    // encodeInto writes whole characters only.
    const room = new Uint8Array(255);
    tlvs.push({ type, value: room.subarray(0, new TextEncoder().encodeInto(value, room).written) });
  };
  if (lldpdu.evb) own(0x0080c2, 0x0d, encodeEvbTlv(lldpdu.evb));
  if (lldpdu.evbDraft) own(0x001b3f, 0x00, encodeEvbDraftTlv(lldpdu.evbDraft));
  text(PORT_DESCRIPTION, lldpdu.portDescription);
  text(SYSTEM_NAME, lldpdu.systemName);
  text(SYSTEM_DESCRIPTION, lldpdu.systemDescription);
  if (lldpdu.capabilities) {
    const { supported, enabled } = lldpdu.capabilities;
    tlvs.push({ type: SYSTEM_CAPABILITIES, value: new OctetWriter(4).u16(supported).u16(enabled).finish() });
  }
  return [...tlvs, ...lldpdu.others];
}
