import { DecodeError } from './decode-error.ts';

declare const macAddress: unique symbol;
declare const uuid: unique symbol;

/** Six octets as lower-case pairs with colons: `52:54:00:0a:0b:0c`. */
export type MacAddress = string & { readonly [macAddress]: true };

/** RFC 4122 text in lower case: `9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359`. */
export type Uuid = string & { readonly [uuid]: true };

const HEX = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, '0'));

export function toHex(octets: Uint8Array): string {
  let text = '';
  for (const octet of octets) text += HEX[octet];
  return text;
}

/** Hex digits (an even number, nothing between them) to octets; undefined when it is anything else. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

export function macFromOctets(octets: Uint8Array): MacAddress {
  if (octets.length !== 6) throw new DecodeError(`a MAC address has 6 octets, not ${octets.length}`, 0);
  return Array.from(octets, (octet) => HEX[octet]).join(':') as MacAddress;
}

export function macToOctets(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(':'), (pair) => Number.parseInt(pair, 16));
}

/** Text as people write it (`52:54:00:A:b:c` is not accepted, `52-54-00-0A-0B-0C` is); undefined when it is no MAC address. */
export function parseMac(text: string): MacAddress | undefined {
  const plain = text.toLowerCase().replaceAll('-', ':');
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(plain) ? (plain as MacAddress) : undefined;
}

/** Group bit of the first octet: broadcast and multicast addresses. */
export function isGroupMac(mac: MacAddress): boolean {
  return (Number.parseInt(mac[1]!, 16) & 1) === 1;
}

export function uuidFromOctets(octets: Uint8Array): Uuid {
  if (octets.length !== 16) throw new DecodeError(`a UUID has 16 octets, not ${octets.length}`, 0);
  const hex = toHex(octets);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join(
    '-',
  ) as Uuid;
}

export function uuidToOctets(value: Uuid): Uint8Array {
  return fromHex(value.replaceAll('-', ''))!;
}

export function parseUuid(text: string): Uuid | undefined {
  const plain = text.toLowerCase();
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(plain)
    ? (plain as Uuid)
    : undefined;
}

export function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
