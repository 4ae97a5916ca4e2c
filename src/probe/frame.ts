import { decodeFrame, type EthernetFrame, encodeFrame } from '../../protocols/ethernet/index.ts';
import {
  DecodeError,
  type MacAddress,
  macFromOctets,
  OctetReader,
  OctetWriter,
  sameOctets,
} from '../../protocols/octets/index.ts';

/** IEEE 802: Local Experimental Ethertype 1. Who uses it tells his frames from those of others by what is in them. */
const ETHERTYPE_EXPERIMENTAL = 0x88b5;
const MAGIC = Uint8Array.from('evbprobe', (character) => character.charCodeAt(0));
export const NONCE_LENGTH = 16;
/** In a frame without tag. */
export const NONCE_OFFSET = 14 + MAGIC.length;

/** What is written into the frame: after the magic the nonce of its probe and its number, then zeros. */
export interface TestFrame {
  source: MacAddress;
  destination: MacAddress;
  nonce: Uint8Array;
  sequence: number;
}

export function encodeTestFrame({ source, destination, nonce, sequence }: TestFrame): Uint8Array {
  const payload = new OctetWriter().octets(MAGIC).octets(nonce).u32(sequence).finish();
  return encodeFrame({ source, destination, etherType: ETHERTYPE_EXPERIMENTAL, payload });
}

/** The number and the tag of a frame of the probe with this nonce; undefined when it is anything else. */
export function decodeTestFrame(
  octets: Uint8Array,
  nonce: Uint8Array,
): { sequence: number; taggedVid?: number } | undefined {
  let frame: EthernetFrame;
  try {
    frame = decodeFrame(octets);
    if (frame.etherType !== ETHERTYPE_EXPERIMENTAL) return undefined;
    const reader = new OctetReader(frame.payload);
    if (!sameOctets(reader.take(MAGIC.length, 'magic'), MAGIC)) return undefined;
    if (!sameOctets(reader.take(NONCE_LENGTH, 'nonce'), nonce)) return undefined;
    const sequence = reader.u32('sequence');
    return frame.taggedVid === undefined ? { sequence } : { sequence, taggedVid: frame.taggedVid };
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** Six random octets as an address that nobody was given: locally administered, of a single station. */
export function throwAwayAddress(random: Uint8Array): MacAddress {
  return macFromOctets(random.with(0, (random[0]! & 0xf0) | 0x02));
}
