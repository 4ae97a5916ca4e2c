import { Attributes, HostWriter } from './attributes.ts';
import * as k from './constants.ts';
import type { NetlinkMessage } from './message.ts';

/** Asks for the message type of a generic netlink family; its number differs from boot to boot. */
export function encodeGetFamily(name: string): Uint8Array {
  return genericHeader(k.CTRL_CMD_GETFAMILY).text(k.CTRL_ATTR_FAMILY_NAME, name).finish();
}

/** Throws DecodeError. */
export function decodeFamily(message: NetlinkMessage): number | undefined {
  return genericAttributes(message).u16(k.CTRL_ATTR_FAMILY_ID);
}

/** Asks for the private flags of a network card's driver (`ethtool --show-priv-flags`). */
export function encodeGetPrivateFlags(interfaceIndex: number): Uint8Array {
  return genericHeader(k.ETHTOOL_MSG_PRIVFLAGS_GET)
    .nested(k.ETHTOOL_A_PRIVFLAGS_HEADER, (header) =>
      header.attribute(k.ETHTOOL_A_HEADER_DEV_INDEX, (w) => w.u32(interfaceIndex)),
    )
    .finish();
}

/** By name: whether the flag is set. Throws DecodeError. */
export function decodePrivateFlags(message: NetlinkMessage): Map<string, boolean> {
  const bits = genericAttributes(message)
    .nested(k.ETHTOOL_A_PRIVFLAGS_FLAGS)
    ?.nested(k.ETHTOOL_A_BITSET_BITS)
    ?.allNested(k.ETHTOOL_A_BITSET_BITS_BIT);
  const flags = new Map<string, boolean>();
  for (const bit of bits ?? []) {
    const name = bit.text(k.ETHTOOL_A_BITSET_BIT_NAME);
    if (name !== undefined) flags.set(name, bit.has(k.ETHTOOL_A_BITSET_BIT_VALUE));
  }
  return flags;
}

/** struct genlmsghdr. */
function genericHeader(command: number): HostWriter {
  return new HostWriter().u8(command).u8(1).u16(0);
}

function genericAttributes(message: NetlinkMessage): Attributes {
  const reader = message.payload.clone();
  reader.u32('generic netlink header');
  return new Attributes(reader);
}
