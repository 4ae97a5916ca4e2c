/** One line about a frame of the three protocols; undefined for any other frame. */

const names: Record<number, string> = { 35020: 'LLDP', 35136: 'ECP', 34999: 'ECP (draft)' };

export function describe(octets: Uint8Array): string | undefined {
  const type = ((octets[12] ?? 0) << 8) | (octets[13] ?? 0);
  const name = names[type];
  return name === undefined ? undefined : `${name}, ${octets.length} octets`;
}
