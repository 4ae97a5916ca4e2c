import { DecodeError, OctetReader, OctetWriter } from '../octets/index.ts';

export const ECP_VERSION = 1;
export const ECP_SUBTYPE_VDP = 1;
/** Largest ULPDU that we build: two octets of the 1496 are kept for the End TLV (ecp.md 1.1). */
export const ECP_ULPDU_MAX = 1494;

export type EcpOperation = 'request' | 'ack';

/** Ratified ECPDU (ecp.md 1.1). An ack carries no ULPDU; what stands behind its header is padding. */
export interface Ecpdu {
  version: number;
  operation: EcpOperation;
  subtype: number;
  sequence: number;
  ulpdu: Uint8Array;
}

const OPERATIONS: readonly EcpOperation[] = ['request', 'ack'];

/** The octets behind Ethertype 0x8940. Throws DecodeError on a short frame, another version or a reserved operation. */
export function decodeEcpdu(octets: Uint8Array): Ecpdu {
  const reader = new OctetReader(octets);
  const header = reader.u16('ECP version, operation and subtype');
  const sequence = reader.u16('ECP sequence number');
  const version = header >> 12;
  const operation = OPERATIONS[(header >> 10) & 3];
  if (version !== ECP_VERSION) throw new DecodeError(`ECP version ${version}`, 0);
  if (operation === undefined) throw new DecodeError(`reserved ECP operation ${(header >> 10) & 3}`, 0);
  const ulpdu = operation === 'request' ? reader.rest() : new Uint8Array();
  return { version, operation, subtype: header & 0x3ff, sequence, ulpdu };
}

export function encodeEcpdu(ecpdu: Ecpdu): Uint8Array {
  return new OctetWriter(4 + ecpdu.ulpdu.length)
    .u16((ecpdu.version << 12) | (OPERATIONS.indexOf(ecpdu.operation) << 10) | ecpdu.subtype)
    .u16(ecpdu.sequence)
    .octets(ecpdu.ulpdu)
    .finish();
}
