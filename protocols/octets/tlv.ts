import type { OctetReader } from './reader.ts';
import type { OctetWriter } from './writer.ts';

/** The longest information string that the 9-bit length of LLDP and VDP TLVs can tell. */
export const TLV_MAX_LENGTH = 511;

export interface Tlv {
  /** 0..127 */
  type: number;
  value: Uint8Array;
}

/** Type (7 bits) and length (9 bits) share two octets in LLDP and in VDP (lldp.md 2, vdp.md 1). */
export function readTlv(reader: OctetReader): { type: number; offset: number; value: OctetReader } {
  const offset = reader.offset;
  const header = reader.u16('TLV header');
  const value = reader.sub(header & 0x1ff, 'TLV');
  return { type: header >> 9, offset, value };
}

export function writeTlv(writer: OctetWriter, type: number, value: Uint8Array): void {
  if (value.length > TLV_MAX_LENGTH)
    throw new RangeError(`a TLV holds ${TLV_MAX_LENGTH} octets, not ${value.length}`);
  writer.u16((type << 9) | value.length).octets(value);
}

/** OUI and subtype that open an organizationally specific TLV (type 127), as one comparable number. */
export function organization(oui: number, subtype: number): number {
  return oui * 0x100 + subtype;
}

export const TLV_ORGANIZATIONALLY_SPECIFIC = 127;
