import { type MacAddress, macFromOctets, macToOctets, OctetReader, OctetWriter } from '../octets/index.ts';

export const ETHERTYPE_LLDP = 0x88cc;
/** Ratified ECP (ecp.md 1.1). */
export const ETHERTYPE_ECP = 0x8940;
/** OUI-extended Ethertype that carries draft 0.2 ECP (ecp.md 2.1). */
export const ETHERTYPE_ECP_DRAFT = 0x88b7;
const ETHERTYPE_VLAN = 0x8100;

/** Group addresses by the scope they reach (lldp.md 1.1). */
export const NEAREST_CUSTOMER_BRIDGE = '01:80:c2:00:00:00' as MacAddress;
export const NEAREST_NON_TPMR_BRIDGE = '01:80:c2:00:00:03' as MacAddress;
export const NEAREST_BRIDGE = '01:80:c2:00:00:0e' as MacAddress;

/** Shortest and longest Ethernet frame without FCS. */
export const FRAME_MIN = 60;
export const FRAME_MAX = 1514;

export interface EthernetFrame {
  destination: MacAddress;
  source: MacAddress;
  etherType: number;
  payload: Uint8Array;
  /** VID of an 802.1Q tag before the Ethertype; 0 is a priority tag. Absent: untagged. */
  taggedVid?: number;
}

/** Throws DecodeError when the octets end before the Ethertype. Padding stays in the payload: only its protocol can tell. */
export function decodeFrame(octets: Uint8Array): EthernetFrame {
  const reader = new OctetReader(octets);
  const destination = macFromOctets(reader.take(6, 'destination'));
  const source = macFromOctets(reader.take(6, 'source'));
  let etherType = reader.u16('Ethertype');
  let taggedVid: number | undefined;
  if (etherType === ETHERTYPE_VLAN) {
    taggedVid = reader.u16('tag control') & 0xfff;
    etherType = reader.u16('Ethertype');
  }
  const frame: EthernetFrame = { destination, source, etherType, payload: reader.rest() };
  if (taggedVid !== undefined) frame.taggedVid = taggedVid;
  return frame;
}

/** Untagged, zero-padded to 60 octets. */
export function encodeFrame(frame: EthernetFrame): Uint8Array {
  return new OctetWriter(Math.max(FRAME_MIN, 14 + frame.payload.length))
    .octets(macToOctets(frame.destination))
    .octets(macToOctets(frame.source))
    .u16(frame.etherType)
    .octets(frame.payload)
    .padTo(FRAME_MIN)
    .finish();
}
