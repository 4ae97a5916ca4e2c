import type { Attributes, HostWriter } from '../rtnetlink/index.ts';

/** nf_tables has its numbers in network order, unlike most of netlink. */
export function putU32(writer: HostWriter, type: number, value: number): HostWriter {
  return writer.attribute(type, (w) => w.octets(octetsOf(value)));
}

/** undefined where the attribute is not there or is no number. */
export function u32Of(attributes: Attributes | undefined, type: number): number | undefined {
  const octets = attributes?.octets(type);
  return octets?.length === 4 ? viewOf(octets).getUint32(0) : undefined;
}

export function s32Of(attributes: Attributes | undefined, type: number): number | undefined {
  const value = u32Of(attributes, type);
  return value === undefined ? undefined : value | 0;
}

function octetsOf(value: number): Uint8Array {
  const octets = new Uint8Array(4);
  viewOf(octets).setUint32(0, value);
  return octets;
}

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}
