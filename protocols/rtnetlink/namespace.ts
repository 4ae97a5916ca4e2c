import { Attributes, HostWriter } from './attributes.ts';
import * as k from './constants.ts';
import type { NetlinkMessage } from './message.ts';

/** RTM_NEWNSID or RTM_DELNSID: a network namespace has an id in ours, or no longer. */
export interface NamespaceMessage {
  deleted: boolean;
  /** undefined: the namespace that was asked for has none. */
  namespaceId?: number;
}

/** Throws DecodeError. */
export function decodeNamespace(message: NetlinkMessage): NamespaceMessage {
  const reader = message.payload.clone();
  reader.u32('family');
  const id = new Attributes(reader).s32(k.NETNSA_NSID);
  const deleted = message.type === k.RTM_DELNSID;
  return id === undefined || id < 0 ? { deleted } : { deleted, namespaceId: id };
}

/** A network namespace: that of a process, or the one that an open file descriptor of ours stands for. */
export type NamespaceReference = { pid: number } | { fd: number };

/** RTM_GETNSID of one namespace, or, with NLM_F_DUMP and none, of all that have an id. */
export function encodeGetNamespace(which?: NamespaceReference): Uint8Array {
  return reference(which).finish();
}

/** RTM_NEWNSID: gives a namespace an id in ours, which the kernel chooses; it hears of it and can be asked for its links then. */
export function encodeNewNamespace(which: NamespaceReference): Uint8Array {
  return reference(which)
    .attribute(k.NETNSA_NSID, (w) => w.s32(-1))
    .finish();
}

/** struct rtgenmsg. */
function reference(which: NamespaceReference | undefined): HostWriter {
  const writer = new HostWriter().u32(k.AF_UNSPEC);
  if (which === undefined) return writer;
  if ('pid' in which) return writer.attribute(k.NETNSA_PID, (w) => w.u32(which.pid));
  return writer.attribute(k.NETNSA_FD, (w) => w.u32(which.fd));
}
