import { encodeMessage, HostWriter, NLM_F_ACK, NLM_F_REQUEST } from '../rtnetlink/index.ts';
import { putU32 } from './attributes.ts';
import * as k from './constants.ts';

/** One change, to be carried out within a batch. */
export interface NftChange {
  type: number;
  /** NLM_F_CREATE and the like. */
  flags: number;
  payload: Uint8Array;
}

/**
 * All of the changes or none of them, at once for every frame. All messages have the same sequence number, and the last change asks
 * for an acknowledgement: the first completion with that number tells what became of the batch.
 * `generation`: of the tables as they were read; where they have changed since the kernel refuses with ERESTART. Throws RangeError for
 * no changes at all, which nobody would acknowledge.
 */
export function encodeBatch(
  changes: readonly NftChange[],
  sequence: number,
  generation?: number,
): Uint8Array {
  if (changes.length === 0) throw new RangeError('a batch without changes');
  const begin = batchHeader();
  if (generation !== undefined) putU32(begin, k.NFNL_BATCH_GENID, generation);
  const message = (type: number, flags: number, payload: Uint8Array) =>
    encodeMessage({ type, flags: flags | NLM_F_REQUEST, sequence, portId: 0 }, payload);
  const batch = new HostWriter().octets(message(k.NFNL_MSG_BATCH_BEGIN, 0, begin.finish()));
  for (const [i, { type, flags, payload }] of changes.entries()) {
    batch.octets(message(type, i === changes.length - 1 ? flags | NLM_F_ACK : flags, payload));
  }
  return batch.octets(message(k.NFNL_MSG_BATCH_END, 0, batchHeader().finish())).finish();
}

/** struct nfgenmsg: the subsystem, in network order. */
function batchHeader(): HostWriter {
  return new HostWriter().u8(0).u8(0).u8(0).u8(k.NFNL_SUBSYS_NFTABLES);
}
