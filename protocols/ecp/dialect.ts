import {
  decodeEcpdu,
  ECP_SUBTYPE_VDP,
  ECP_ULPDU_MAX,
  ECP_VERSION,
  type Ecpdu,
  encodeEcpdu,
} from './codec.ts';
import { decodeEcpDraftPdu, ECP_DRAFT_ULPDU_MAX, encodeEcpDraftPdu } from './draft.ts';

/** An ECPDU as the machines see it, in either dialect. */
export type EcpPdu = Omit<Ecpdu, 'version'>;

/** What differs between ratified and draft ECP; the machines are the same (ecp.md 1 and 2). */
export interface EcpDialect {
  /** Subtype of VDP. */
  readonly subtype: number;
  readonly ulpduMax: number;
  /** Throws DecodeError. */
  decode(octets: Uint8Array): EcpPdu;
  encode(pdu: EcpPdu): Uint8Array;
  encodeAck(request: EcpPdu): Uint8Array;
}

export const ECP_RATIFIED: EcpDialect = {
  subtype: ECP_SUBTYPE_VDP,
  ulpduMax: ECP_ULPDU_MAX,
  decode: decodeEcpdu,
  encode: (pdu) => encodeEcpdu({ ...pdu, version: ECP_VERSION }),
  encodeAck: (request) =>
    encodeEcpdu({ ...request, version: ECP_VERSION, operation: 'ack', ulpdu: new Uint8Array() }),
};

/** An ack is as long as the request, with nothing but zeros behind its header (ecp.md 2.3). */
export const ECP_DRAFT: EcpDialect = {
  subtype: 0,
  ulpduMax: ECP_DRAFT_ULPDU_MAX,
  decode: decodeEcpDraftPdu,
  encode: encodeEcpDraftPdu,
  encodeAck: (request) =>
    encodeEcpDraftPdu({ ...request, operation: 'ack', ulpdu: new Uint8Array(request.ulpdu.length) }),
};
