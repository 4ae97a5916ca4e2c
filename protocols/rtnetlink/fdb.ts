import { type MacAddress, macFromOctets, macToOctets } from '../octets/index.ts';
import { Attributes, HostWriter } from './attributes.ts';
import * as k from './constants.ts';
import type { NetlinkMessage } from './message.ts';

/** An address in a bridge's forwarding database, or (`self`) in the filter of a device. */
export interface FdbEntry {
  /** Index of the port behind which the address is. */
  port: number;
  mac: MacAddress;
  /** Absent: the bridge is not VLAN-aware, or the entry is for untagged frames. */
  vlan?: number;
  /** Index of the bridge; absent with `self`. */
  bridge?: number;
  /** `permanent`: the bridge's own address, frames to it go up into this host. `static`: entered by someone. `learnt`: ages. */
  kind: 'permanent' | 'static' | 'learnt';
  self: boolean;
  sticky: boolean;
  externLearn: boolean;
}

/** RTM_NEWNEIGH or RTM_DELNEIGH of family AF_BRIDGE; undefined for a neighbour of another family. Throws DecodeError. */
export function decodeFdbEntry(message: NetlinkMessage): FdbEntry | undefined {
  const reader = message.payload.clone();
  const family = reader.u8('family');
  reader.u8('padding');
  reader.u16('padding');
  const port = reader.s32('index');
  const state = reader.u16('state');
  const flags = reader.u8('flags');
  reader.u8('neighbour type');
  if (family !== k.AF_BRIDGE) return undefined;
  const attributes = new Attributes(reader);
  const address = attributes.octets(k.NDA_LLADDR);
  // A VXLAN's default destination and the like: no six octets, no entry of a bridge.
  if (address?.length !== 6) return undefined;
  const entry: FdbEntry = {
    port,
    mac: macFromOctets(address),
    kind: (state & k.NUD_PERMANENT) !== 0 ? 'permanent' : (state & k.NUD_NOARP) !== 0 ? 'static' : 'learnt',
    self: (flags & k.NTF_SELF) !== 0,
    sticky: (flags & k.NTF_STICKY) !== 0,
    externLearn: (flags & k.NTF_EXT_LEARNED) !== 0,
  };
  const vlan = attributes.u16(k.NDA_VLAN);
  const bridge = attributes.u32(k.NDA_MASTER);
  if (vlan !== undefined) entry.vlan = vlan;
  if (bridge !== undefined) entry.bridge = bridge;
  return entry;
}

/**
 * RTM_NEWNEIGH, with NLM_F_CREATE and NLM_F_REPLACE: a static entry, in place of a learnt one or of one on another port.
 * Without `vlan` a VLAN-aware bridge enters the address for every VLAN of the port.
 */
export function encodeNewFdbEntry(port: number, mac: MacAddress, vlan?: number): Uint8Array {
  return fdbEntry(port, mac, vlan, k.NUD_NOARP);
}

/** RTM_DELNEIGH: only if the entry is at this port. */
export function encodeDelFdbEntry(port: number, mac: MacAddress, vlan?: number): Uint8Array {
  return fdbEntry(port, mac, vlan, 0);
}

/** RTM_GETNEIGH: the entry of the address in the bridge of this port, at whichever port it is. */
export function encodeGetFdbEntry(port: number, mac: MacAddress, vlan?: number): Uint8Array {
  return fdbEntry(port, mac, vlan, 0);
}

/** RTM_GETNEIGH with NLM_F_DUMP: one port's entries and its own filter; kernels before 4.20 give those of all ports. */
export function encodeDumpFdb(port: number): Uint8Array {
  return neighbourHeader(port, 0, 0).finish();
}

function fdbEntry(port: number, mac: MacAddress, vlan: number | undefined, state: number): Uint8Array {
  const writer = neighbourHeader(port, state, k.NTF_MASTER);
  writer.attribute(k.NDA_LLADDR, (w) => w.octets(macToOctets(mac)));
  if (vlan !== undefined) writer.attribute(k.NDA_VLAN, (w) => w.u16(vlan));
  return writer.finish();
}

/** struct ndmsg. */
function neighbourHeader(port: number, state: number, flags: number): HostWriter {
  return new HostWriter().u8(k.AF_BRIDGE).u8(0).u16(0).s32(port).u16(state).u8(flags).u8(0);
}
