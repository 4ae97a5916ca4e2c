/** What a process may do, of its /proc/PID/status. */

export interface Capabilities {
  admin: boolean;
  raw: boolean;
  broadcast: boolean;
  system: boolean;
}

/** Bits of CapEff (capabilities(7)). */
const CAP_NET_BROADCAST = 11n;
const CAP_NET_ADMIN = 12n;
const CAP_NET_RAW = 13n;
const CAP_SYS_ADMIN = 21n;

export function parseCapabilities(status: string | undefined): Capabilities | undefined {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? '')?.[1];
  if (effective === undefined) return undefined;
  const has = (bit: bigint) => ((BigInt(`0x${effective}`) >> bit) & 1n) === 1n;
  return {
    admin: has(CAP_NET_ADMIN),
    raw: has(CAP_NET_RAW),
    broadcast: has(CAP_NET_BROADCAST),
    system: has(CAP_SYS_ADMIN),
  };
}
