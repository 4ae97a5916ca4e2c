import { fromHex, parseUuid, uuidToOctets } from '../../protocols/octets/index.ts';
import { parseIpv6 } from '../../protocols/vdp/index.ts';
import type { Config } from './config.ts';

/**
 * The 16 octets of a VSI Manager ID as people write it: 0..255, an IPv6 address, a UUID, or 32 hex digits. A one-octet id goes
 * into the first octet, as lldpad and libvirt have it, or into the last (interop-notes.md 9, row 8). Undefined: none of these.
 */
export function parseManager(
  value: number | string,
  octet: 'first' | 'last' = 'first',
): Uint8Array | undefined {
  if (typeof value === 'string' && !/^\d{1,3}$/.test(value)) {
    const uuid = parseUuid(value);
    if (uuid !== undefined) return uuidToOctets(uuid);
    return value.length === 32 ? fromHex(value) : parseIpv6(value);
  }
  const small = Number(value);
  if (!Number.isInteger(small) || small < 0 || small > 255) return undefined;
  const octets = new Uint8Array(16);
  octets[octet === 'first' ? 0 : 15] = small;
  return octets;
}

/** A configured port profile as VDP names it. */
export interface Profile {
  name: string;
  manager: Uint8Array;
  type: number;
  typeVersion: number;
  /** VID of the profile; absent: any, and none of its own to assign. */
  vlan?: number;
}

/** The configured profiles with the Manager ID as it goes over the wire of one link. */
export function profilesOf(config: Config, managerOctet: 'first' | 'last'): Profile[] {
  return Object.entries(config.profiles).map(([name, profile]) => ({
    name,
    manager: parseManager(profile.manager, managerOctet)!,
    type: profile.type,
    typeVersion: profile['type-version'],
    ...(profile.vlan === undefined ? {} : { vlan: profile.vlan }),
  }));
}
