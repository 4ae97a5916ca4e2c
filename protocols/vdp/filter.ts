import {
  isGroupMac,
  type MacAddress,
  macFromOctets,
  macToOctets,
  type OctetReader,
  type OctetWriter,
} from '../octets/index.ts';

/** Filter Info formats (vdp.md 1.2). */
export const FILTER_VID = 1;
export const FILTER_MAC_VID = 2;
export const FILTER_GROUP_VID = 3;
export const FILTER_GROUP_MAC_VID = 4;

/** One Filter Info entry; which keys are there follows from the format. */
export interface FilterEntry {
  mac?: MacAddress;
  /** 0..4094; 0 asks the bridge to choose, in an answer it means untagged. */
  vid: number;
  /** 0..7 when the PS bit was set; absent otherwise, whatever the PCP bits said. */
  pcp?: number;
  /** Unsigned 32 bit. */
  group?: number;
}

const hasGroup = (format: number) => format === FILTER_GROUP_VID || format === FILTER_GROUP_MAC_VID;
const hasMac = (format: number) => format === FILTER_MAC_VID || format === FILTER_GROUP_MAC_VID;

/** Octets of an entry; undefined for a format that the standard does not have. */
export function filterEntrySize(format: number): number | undefined {
  if (format < FILTER_VID || format > FILTER_GROUP_MAC_VID) return undefined;
  return 2 + (hasMac(format) ? 6 : 0) + (hasGroup(format) ? 4 : 0);
}

/** The format that a list of entries needs: every entry must have the same keys, else undefined. */
export function filterFormatOf(filters: readonly FilterEntry[]): number | undefined {
  const format = (entry: FilterEntry) =>
    1 + (entry.mac !== undefined ? 1 : 0) + (entry.group !== undefined ? 2 : 0);
  const first = filters[0];
  if (first === undefined) return undefined;
  return filters.every((entry) => format(entry) === format(first)) ? format(first) : undefined;
}

export function decodeFilterEntry(reader: OctetReader, format: number): FilterEntry {
  const group = hasGroup(format) ? reader.u32('GroupID') : undefined;
  const mac = hasMac(format) ? macFromOctets(reader.take(6, 'filter MAC')) : undefined;
  const word = reader.u16('PS/PCP/VID');
  const entry: FilterEntry = { vid: word & 0xfff };
  if (mac !== undefined) entry.mac = mac;
  if (group !== undefined) entry.group = group;
  if ((word & 0x8000) !== 0) entry.pcp = (word >> 12) & 7;
  return entry;
}

export function encodeFilterEntry(writer: OctetWriter, format: number, entry: FilterEntry): void {
  if (hasGroup(format)) writer.u32(entry.group!);
  if (hasMac(format)) writer.octets(macToOctets(entry.mac!));
  writer.u16((entry.pcp === undefined ? 0 : 0x8000 | (entry.pcp << 12)) | entry.vid);
}

/** Why these entries cannot be asked for or must be refused with error 5; undefined when they can (vdp.md 1.5). */
export function filterProblem(filters: readonly FilterEntry[], groupIdsAgreed: boolean): string | undefined {
  if (filters.some((entry) => entry.vid === 4095)) return 'VID 4095 is reserved';
  if (filters.some((entry) => entry.mac !== undefined && isGroupMac(entry.mac)))
    return 'a group address is no guest MAC';
  if (!groupIdsAgreed && filters.some((entry) => entry.group !== undefined))
    return 'group ids are not agreed on this link';
  const withoutMac = filters.filter((entry) => entry.mac === undefined && entry.group === undefined);
  if (withoutMac.filter((entry) => entry.vid === 0).length > 1)
    return 'only one VID may be left to the bridge without a MAC';
  return undefined;
}

/**
 * Same list in the same order (vdp.md 3). A null VID in `asked` matches any VID; PCP is compared only where `asked` sets it.
 */
export function filtersMatch(asked: readonly FilterEntry[], answered: readonly FilterEntry[]): boolean {
  return (
    asked.length === answered.length &&
    asked.every((entry, i) => {
      const other = answered[i]!;
      return (
        entry.mac === other.mac &&
        entry.group === other.group &&
        (entry.vid === 0 || entry.vid === other.vid) &&
        (entry.pcp === undefined || entry.pcp === other.pcp)
      );
    })
  );
}

/**
 * `asked` with the PS/PCP/VID words that the bridge gave to the same entries before; they are repeated verbatim (vdp.md 1.5).
 * Entries that name their VID choose first.
 */
export function withAssignedVids(
  asked: readonly FilterEntry[],
  known: readonly FilterEntry[],
): FilterEntry[] {
  const left = [...known];
  const given = (entry: FilterEntry): FilterEntry => {
    const i = left.findIndex((other) => filtersMatch([entry], [other]));
    return i < 0 ? entry : left.splice(i, 1)[0]!;
  };
  const named = asked.map((entry) => (entry.vid === 0 ? undefined : given(entry)));
  return asked.map((entry, i) => named[i] ?? given(entry));
}
