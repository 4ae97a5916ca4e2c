import { Attributes, HostWriter, type NetlinkMessage, NLM_F_CREATE } from '../rtnetlink/index.ts';
import { putU32, s32Of, u32Of } from './attributes.ts';
import type { NftChange } from './batch.ts';
import * as k from './constants.ts';
import { type NftExpression, readExpressions, writeExpressions } from './expression.ts';

/** A chain that frames pass through by themselves, of type `filter`. All here is of the bridge family. */
export interface NftBaseChain {
  name: string;
  hook: number;
  priority: number;
  policy: number;
}

/** A set of interface indexes; `flags` 0: as we make it, without timeouts or intervals. */
export interface NftSet {
  name: string;
  flags: number;
  keyLength: number;
}

export function newTable(name: string): NftChange {
  const payload = putU32(header().text(k.NFTA_TABLE_NAME, name), k.NFTA_TABLE_FLAGS, 0);
  return { type: k.NFT_MSG_NEWTABLE, flags: NLM_F_CREATE, payload: payload.finish() };
}

/** With all that is in it. */
export function deleteTable(name: string): NftChange {
  return { type: k.NFT_MSG_DELTABLE, flags: 0, payload: header().text(k.NFTA_TABLE_NAME, name).finish() };
}

export function newBaseChain(table: string, { name, hook, priority, policy }: NftBaseChain): NftChange {
  const writer = header().text(k.NFTA_CHAIN_TABLE, table).text(k.NFTA_CHAIN_NAME, name);
  writer.nested(k.NFTA_CHAIN_HOOK, (nest) => {
    putU32(nest, k.NFTA_HOOK_HOOKNUM, hook);
    putU32(nest, k.NFTA_HOOK_PRIORITY, priority);
  });
  putU32(writer, k.NFTA_CHAIN_POLICY, policy).text(k.NFTA_CHAIN_TYPE, 'filter');
  return { type: k.NFT_MSG_NEWCHAIN, flags: NLM_F_CREATE, payload: writer.finish() };
}

/** Of interface indexes. The only one of its batch. */
export function newIndexSet(table: string, name: string): NftChange {
  const writer = header().text(k.NFTA_SET_TABLE, table).text(k.NFTA_SET_NAME, name);
  putU32(writer, k.NFTA_SET_FLAGS, 0);
  putU32(writer, k.NFTA_SET_KEY_TYPE, k.KEY_TYPE_IFINDEX);
  putU32(writer, k.NFTA_SET_KEY_LEN, INDEX_LENGTH);
  // The kernel insists on a number, by which others of the batch could refer to it.
  putU32(writer, k.NFTA_SET_ID, 1);
  // For nft(8) alone: without it an index is shown back to front.
  writer.attribute(k.NFTA_SET_USERDATA, (data) =>
    data.u8(k.NFTNL_UDATA_SET_KEYBYTEORDER).u8(INDEX_LENGTH).u32(k.BYTEORDER_HOST_ENDIAN),
  );
  return { type: k.NFT_MSG_NEWSET, flags: NLM_F_CREATE, payload: writer.finish() };
}

const INDEX_LENGTH = 4;
/** An attribute holds 64 KiB. */
const MOST_ELEMENTS = 1000;

export function newIndexes(table: string, set: string, indexes: readonly number[]): NftChange[] {
  const changes: NftChange[] = [];
  for (let at = 0; at < indexes.length; at += MOST_ELEMENTS) {
    const writer = setReference(table, set).nested(k.NFTA_SET_ELEM_LIST_ELEMENTS, (list) => {
      for (const index of indexes.slice(at, at + MOST_ELEMENTS)) {
        list.nested(k.NFTA_LIST_ELEM, (element) =>
          element.nested(k.NFTA_SET_ELEM_KEY, (key) =>
            // An index is compared as it lies in the kernel's memory.
            key.attribute(k.NFTA_DATA_VALUE, (w) => w.u32(index)),
          ),
        );
      }
    });
    changes.push({ type: k.NFT_MSG_NEWSETELEM, flags: NLM_F_CREATE, payload: writer.finish() });
  }
  return changes;
}

/** Behind the rules that the chain has. */
export function newRule(table: string, chain: string, expressions: readonly NftExpression[]): NftChange {
  const writer = header().text(k.NFTA_RULE_TABLE, table).text(k.NFTA_RULE_CHAIN, chain);
  const payload = writeExpressions(writer, expressions).finish();
  return { type: k.NFT_MSG_NEWRULE, flags: NLM_F_CREATE | k.NLM_F_APPEND, payload };
}

/** NFT_MSG_GETTABLE of one table; with NLM_F_DUMP NFT_MSG_GETCHAIN, GETRULE and GETSET, of which the kernel may tell other tables' too. */
export function encodeGetOfTable(table: string): Uint8Array {
  return header().text(k.NFTA_TABLE_NAME, table).finish();
}

/** NFT_MSG_GETSETELEM with NLM_F_DUMP. */
export function encodeGetElements(table: string, set: string): Uint8Array {
  return setReference(table, set).finish();
}

/** NFT_MSG_GETGEN: which generation of all tables is in force. */
export function encodeGetGeneration(): Uint8Array {
  return header().finish();
}

/** Throws DecodeError. */
export function decodeGeneration(message: NetlinkMessage): number | undefined {
  return u32Of(attributesOf(message), k.NFTA_GEN_ID);
}

/** The table that a message is about; undefined: none of the bridge family. Throws DecodeError. */
export function tableNameOf(message: NetlinkMessage): string | undefined {
  const { type } = message;
  if (type >> 8 !== k.NFNL_SUBSYS_NFTABLES || type === k.NFT_MSG_NEWGEN || type === k.NFT_MSG_TRACE)
    return undefined;
  if (message.payload.clone().u8('family') !== k.NFPROTO_BRIDGE) return undefined;
  return attributesOf(message).text(k.NFTA_TABLE_NAME);
}

/** Flags of a table; 0: it is in force and belongs to nobody. Throws DecodeError. */
export function decodeTableFlags(message: NetlinkMessage): number {
  return u32Of(attributesOf(message), k.NFTA_TABLE_FLAGS) ?? 0;
}

/** undefined: frames get into it from other chains only, or it is of another type. Throws DecodeError. */
export function decodeBaseChain(message: NetlinkMessage): NftBaseChain | undefined {
  const attributes = attributesOf(message);
  const nest = attributes.nested(k.NFTA_CHAIN_HOOK);
  const hook = u32Of(nest, k.NFTA_HOOK_HOOKNUM);
  const priority = s32Of(nest, k.NFTA_HOOK_PRIORITY);
  const policy = u32Of(attributes, k.NFTA_CHAIN_POLICY);
  if (hook === undefined || priority === undefined || policy === undefined) return undefined;
  if (attributes.text(k.NFTA_CHAIN_TYPE) !== 'filter') return undefined;
  return { name: attributes.text(k.NFTA_CHAIN_NAME) ?? '', hook, priority, policy };
}

/** Throws DecodeError. */
export function decodeRule(message: NetlinkMessage): { chain: string; expressions: NftExpression[] } {
  const attributes = attributesOf(message);
  return { chain: attributes.text(k.NFTA_RULE_CHAIN) ?? '', expressions: readExpressions(attributes) };
}

/** Throws DecodeError. */
export function decodeSet(message: NetlinkMessage): NftSet {
  const attributes = attributesOf(message);
  return {
    name: attributes.text(k.NFTA_SET_NAME) ?? '',
    flags: u32Of(attributes, k.NFTA_SET_FLAGS) ?? 0,
    keyLength: u32Of(attributes, k.NFTA_SET_KEY_LEN) ?? 0,
  };
}

/** Of a set of interface indexes; elements of other sizes are left out. Throws DecodeError. */
export function decodeIndexes(message: NetlinkMessage): number[] {
  const list = attributesOf(message).nested(k.NFTA_SET_ELEM_LIST_ELEMENTS);
  return (list?.allNested(k.NFTA_LIST_ELEM) ?? []).flatMap((element) => {
    const key = element.nested(k.NFTA_SET_ELEM_KEY);
    return key?.octets(k.NFTA_DATA_VALUE)?.length === INDEX_LENGTH ? key.u32(k.NFTA_DATA_VALUE)! : [];
  });
}

function setReference(table: string, set: string): HostWriter {
  return header().text(k.NFTA_SET_ELEM_LIST_TABLE, table).text(k.NFTA_SET_ELEM_LIST_SET, set);
}

/** struct nfgenmsg. */
function header(): HostWriter {
  return new HostWriter().u8(k.NFPROTO_BRIDGE).u8(0).u16(0);
}

function attributesOf({ payload }: NetlinkMessage): Attributes {
  const reader = payload.clone();
  reader.sub(4, 'nfgenmsg');
  return new Attributes(reader);
}
