import { type OctetReader, OctetWriter } from '../octets/index.ts';

/** Exponents of the ratified EVB TLV and what they bound: time = 2^n x 10 us (evb-tlv.md 1.5). */
export interface EvbParameters {
  /** R, 0..7: ECP retransmissions of one ECPDU. */
  r: number;
  /** RTE, 0..31: ECP ack timer. */
  rte: number;
  /** RWD, 0..31: VDP resource wait delay. */
  rwd: number;
  /** RKA, 0..31: VDP reinit keepalive. */
  rka: number;
}

export const EVB_MODE_BRIDGE = 1;
export const EVB_MODE_STATION = 2;
/** RRSTAT: 0 relay known off, 1 known on, 2 and 3 unknown; we send 3 (evb-tlv.md 1.3). */
export const RRSTAT_UNKNOWN = 3;

/** Ratified EVB TLV, 00-80-C2 subtype 0x0D (evb-tlv.md 1.1). */
export interface EvbTlv extends EvbParameters {
  bridgeStatus: { bgid: boolean; rrcap: boolean; rrctr: boolean };
  stationStatus: { sgid: boolean; rrreq: boolean; rrstat: number };
  /** 1 bridge, 2 station; 0 and 3 are reserved. */
  mode: number;
  /** Remote or local: the value came from the other side. */
  rwdRol: boolean;
  rkaRol: boolean;
}

/** Octets behind OUI and subtype. A TLV longer than its five octets is accepted, the rest ignored (evb-tlv.md 1.1). */
export function decodeEvbTlv(reader: OctetReader): EvbTlv {
  const bridge = reader.u8('EVB bridge status');
  const station = reader.u8('EVB station status');
  const retransmission = reader.u8('R/RTE');
  const mode = reader.u8('EVB mode/RWD');
  const keepAlive = reader.u8('RKA');
  return {
    bridgeStatus: { bgid: (bridge & 4) !== 0, rrcap: (bridge & 2) !== 0, rrctr: (bridge & 1) !== 0 },
    stationStatus: { sgid: (station & 8) !== 0, rrreq: (station & 4) !== 0, rrstat: station & 3 },
    r: retransmission >> 5,
    rte: retransmission & 31,
    mode: mode >> 6,
    rwdRol: (mode & 32) !== 0,
    rwd: mode & 31,
    rkaRol: (keepAlive & 32) !== 0,
    rka: keepAlive & 31,
  };
}

export function encodeEvbTlv(tlv: EvbTlv): Uint8Array {
  const bit = (value: boolean, mask: number) => (value ? mask : 0);
  return new OctetWriter(5)
    .u8(bit(tlv.bridgeStatus.bgid, 4) | bit(tlv.bridgeStatus.rrcap, 2) | bit(tlv.bridgeStatus.rrctr, 1))
    .u8(bit(tlv.stationStatus.sgid, 8) | bit(tlv.stationStatus.rrreq, 4) | tlv.stationStatus.rrstat)
    .u8((tlv.r << 5) | tlv.rte)
    .u8((tlv.mode << 6) | bit(tlv.rwdRol, 32) | tlv.rwd)
    .u8(bit(tlv.rkaRol, 32) | tlv.rka)
    .finish();
}

/** Draft 0.2 EVB TLV, 00-1B-3F subtype 0x00 (evb-tlv.md 3.1). */
export interface EvbDraftTlv {
  /** Forwarding modes supported: 0x80 standard, 0x40 reflective relay. */
  smode: number;
  /** Capabilities supported: 0x04 RTE, 0x02 ECP, 0x01 VDP. */
  scap: number;
  /** Forwarding mode in force. */
  cmode: number;
  /** Capabilities in force. */
  ccap: number;
  svsi: number;
  cvsi: number;
  rte: number;
}

export function decodeEvbDraftTlv(reader: OctetReader): EvbDraftTlv {
  return {
    smode: reader.u8('smode'),
    scap: reader.u8('scap'),
    cmode: reader.u8('cmode'),
    ccap: reader.u8('ccap'),
    svsi: reader.u16('svsi'),
    cvsi: reader.u16('cvsi'),
    rte: reader.u8('rte'),
  };
}

export function encodeEvbDraftTlv(tlv: EvbDraftTlv): Uint8Array {
  return new OctetWriter(9)
    .u8(tlv.smode)
    .u8(tlv.scap)
    .u8(tlv.cmode)
    .u8(tlv.ccap)
    .u16(tlv.svsi)
    .u16(tlv.cvsi)
    .u8(tlv.rte)
    .finish();
}
