import { DecodeError, OctetReader, OctetWriter } from '../octets/index.ts';
import type { EcpOperation } from './codec.ts';

/** Of one ECPDU; its ack timer is VDP_DRAFT_TIMERS' (ecp.md 2.2). */
export const ECP_DRAFT_RETRIES = 2;

const OUI = 0x001b3f;
/** Octets in front of the TLVs. */
const HEADER = 9;
/** Largest ULPDU in one Ethernet frame. */
export const ECP_DRAFT_ULPDU_MAX = 1500 - HEADER;

/** Draft 0.2 ECPDU (ecp.md 2.1). What stands behind an ack's header means nothing. */
export interface EcpDraftPdu {
  operation: EcpOperation;
  /** 0 for VDP. */
  subtype: number;
  sequence: number;
  ulpdu: Uint8Array;
}

const OPERATIONS: readonly EcpOperation[] = ['request', 'ack'];

/** The octets behind Ethertype 0x88b7. Throws DecodeError on a short frame, another protocol of that Ethertype or an unknown mode. */
export function decodeEcpDraftPdu(octets: Uint8Array): EcpDraftPdu {
  const reader = new OctetReader(octets);
  const oui = reader.u24('OUI');
  if (oui !== OUI) throw new DecodeError(`OUI ${oui.toString(16).padStart(6, '0')} is not draft ECP`, 0);
  const protocol = reader.u8('protocol id');
  if (protocol !== 0) throw new DecodeError(`protocol id ${protocol} is not draft ECP`, 3);
  const subtype = reader.u16('ECP subtype');
  const mode = reader.u8('ECP mode');
  const operation = OPERATIONS[mode];
  if (operation === undefined) throw new DecodeError(`unknown ECP mode ${mode}`, 6);
  const sequence = reader.u16('ECP sequence number');
  return { operation, subtype, sequence, ulpdu: operation === 'request' ? reader.rest() : new Uint8Array() };
}

export function encodeEcpDraftPdu({ operation, subtype, sequence, ulpdu }: EcpDraftPdu): Uint8Array {
  return new OctetWriter(HEADER + ulpdu.length)
    .u24(OUI)
    .u8(0)
    .u16(subtype)
    .u8(OPERATIONS.indexOf(operation))
    .u16(sequence)
    .octets(ulpdu)
    .finish();
}
