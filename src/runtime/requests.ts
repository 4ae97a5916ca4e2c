import { createHash } from 'node:crypto';
import {
  fromHex,
  type MacAddress,
  macToOctets,
  parseMac,
  parseUuid,
  toHex,
  uuidToOctets,
} from '../../protocols/octets/index.ts';
import {
  type FilterEntry,
  filterEntriesMax,
  filterFormatOf,
  parseIpv4,
  parseIpv6,
  type VdpRequest,
  VSIID_IPV4,
  VSIID_IPV6,
  VSIID_LOCAL,
  VSIID_MAC,
  VSIID_UUID,
  type VsiCommand,
} from '../../protocols/vdp/index.ts';
import { type Profile, parseManager } from '../config/profile.ts';
import { EvbError, type VsiRequest } from '../model.ts';
import type { StoredCommand } from '../store/store.ts';

/** What a user asks for as a VDP command. Throws EvbError InvalidArgument, one line that names the key. */
export function toCommand(
  request: VsiRequest,
  kind: VdpRequest,
  profiles: readonly Profile[],
  managerOctet: 'first' | 'last',
): { command: VsiCommand; profile: string } {
  const { manager, type, typeVersion, profile, vlan } = typeOf(request, profiles, managerOctet);
  const filters = filtersOf(request, vlan);
  const format = filterFormatOf(filters);
  if (format === undefined)
    throw invalid('filters: each needs the same keys (all with or all without mac, and group)');
  if (filters.length > filterEntriesMax(format)) {
    throw invalid(
      `filters: ${filters.length} are too many, one VSI holds ${filterEntriesMax(format)} of this kind`,
    );
  }
  const { idFormat, id } = idOf(request, filters);
  const hint = request.hint ?? 'none';
  return { command: { request: kind, manager, type, typeVersion, idFormat, id, filters, hint }, profile };
}

function typeOf(request: VsiRequest, profiles: readonly Profile[], managerOctet: 'first' | 'last') {
  if (request.profile !== undefined) {
    const profile = profiles.find(({ name }) => name === request.profile);
    if (profile === undefined) {
      const known = profiles.map(({ name }) => name).join(', ') || 'none';
      throw invalid(`profile: there is no ${request.profile} in the configuration (profiles: ${known})`);
    }
    return { ...profile, profile: profile.name };
  }
  const { manager, type, typeVersion } = request;
  if (manager === undefined || type === undefined || typeVersion === undefined) {
    throw invalid('profile, or manager, type and type-version, must be given');
  }
  const octets = parseManager(manager, managerOctet);
  if (octets === undefined) {
    throw invalid(`manager: ${manager} is neither 0..255 nor an IPv6 address, a UUID or 32 hex digits`);
  }
  return { manager: octets, type, typeVersion, profile: '', vlan: undefined };
}

function filtersOf(request: VsiRequest, profileVlan: number | undefined): FilterEntry[] {
  const given =
    request.filters ??
    (request.mac === undefined && request.vlan === undefined
      ? []
      : [
          { mac: request.mac, vid: request.vlan ?? profileVlan ?? 0, group: request.group, pcp: request.pcp },
        ]);
  if (given.length === 0) throw invalid('mac, vlan or filters must be given: whose frames are they?');
  const filters = given.map(({ mac, vid, group, pcp }): FilterEntry => {
    const entry: FilterEntry = { vid };
    if (mac !== undefined) entry.mac = macOf(mac);
    if (group !== undefined) entry.group = group;
    if (pcp !== undefined) entry.pcp = pcp;
    return entry;
  });
  const seen = new Set<string>();
  for (const { mac, vid, group } of filters) {
    const pair = `${group ?? ''}/${mac ?? ''}/${vid}`;
    if (seen.has(pair)) throw invalid(`filters: ${mac ?? ''}${mac ? '/' : ''}${vid} is there twice`);
    seen.add(pair);
  }
  return filters;
}

function macOf(text: string): MacAddress {
  const mac = parseMac(text);
  if (mac === undefined) throw invalid(`mac: ${text} is no MAC address (52:54:00:0a:0b:0c)`);
  return mac;
}

const NAMESPACE = uuidToOctets(parseUuid('5f8a2b1e-6c0d-5d4e-9a37-0ebd80211b67')!);

/**
 * Without an id a VSI gets a name-based UUID (RFC 4122, version 5) of its filters: the same guest asked for again, after a
 * restart or on the host it moves to, is the same VSI. `attempt`: where that of the filters alone is in use by another.
 */
export function derivedId(filters: readonly FilterEntry[], attempt = 0): Uint8Array {
  const name = filters.map(({ mac, vid, group }) => `${group ?? ''}/${mac ?? ''}/${vid}`).sort();
  if (attempt > 0) name.push(`#${attempt}`);
  const hash = createHash('sha1').update(NAMESPACE).update(name.join(' ')).digest();
  const octets = new Uint8Array(hash.subarray(0, 16));
  octets[6] = (octets[6]! & 0x0f) | 0x50;
  octets[8] = (octets[8]! & 0x3f) | 0x80;
  return octets;
}

/** 16 octets with `tail` at their end. */
function rightAligned(tail: Uint8Array): Uint8Array {
  const octets = new Uint8Array(16);
  octets.set(tail, 16 - tail.length);
  return octets;
}

/** IPv4-mapped IPv6, as lldpad checks it (vdp.md 1.3). */
function mapped(ipv4: Uint8Array): Uint8Array {
  return rightAligned(Uint8Array.of(0xff, 0xff, ...ipv4));
}

const ID_FORMATS: Record<
  string,
  { format: number; expected: string; parse(text: string): Uint8Array | undefined }
> = {
  uuid: {
    format: VSIID_UUID,
    expected: 'a UUID',
    parse: (text) => {
      const uuid = parseUuid(text);
      return uuid && uuidToOctets(uuid);
    },
  },
  mac: {
    format: VSIID_MAC,
    expected: 'a MAC address',
    parse: (text) => {
      const mac = parseMac(text);
      return mac && rightAligned(macToOctets(mac));
    },
  },
  ipv4: {
    format: VSIID_IPV4,
    expected: 'an IPv4 address',
    parse: (text) => {
      const address = parseIpv4(text);
      return address && mapped(address);
    },
  },
  ipv6: { format: VSIID_IPV6, expected: 'an IPv6 address', parse: parseIpv6 },
  local: {
    format: VSIID_LOCAL,
    expected: '32 hex digits',
    parse: (text) => (text.length === 32 ? fromHex(text) : undefined),
  },
};

/** The form of an id tells its format; `id-format` is needed only to insist on one. */
function idOf(request: VsiRequest, filters: readonly FilterEntry[]): { idFormat: number; id: Uint8Array } {
  if (request.id === undefined) return { idFormat: VSIID_UUID, id: derivedId(filters) };
  const formats =
    request.idFormat === undefined ? Object.values(ID_FORMATS) : [ID_FORMATS[request.idFormat]!];
  for (const { format, parse } of formats) {
    const id = parse(request.id);
    if (id !== undefined) return { idFormat: format, id };
  }
  const expected = formats.map((format) => format.expected).join(', ');
  throw invalid(`id: ${request.id} is not ${formats.length > 1 ? 'one of ' : ''}${expected}`);
}

function invalid(message: string): EvbError {
  return new EvbError('InvalidArgument', message);
}

export function toStored(command: VsiCommand): StoredCommand {
  return {
    ...command,
    manager: toHex(command.manager),
    id: toHex(command.id),
    filters: [...command.filters],
  };
}

export function fromStored(stored: StoredCommand): VsiCommand {
  return {
    ...stored,
    manager: fromHex(stored.manager)!,
    id: fromHex(stored.id)!,
    filters: stored.filters as FilterEntry[],
  };
}
