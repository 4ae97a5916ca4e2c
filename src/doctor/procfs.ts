/** Small readers of /proc and /sys. Nothing here throws: what is not there, or not to be read, is undefined. */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import type { Capabilities } from './facts.ts';

const FILE_MAX = 1024 * 1024;
/** capabilities(7) */
const CAP_NET_BROADCAST = 11n;
const CAP_NET_ADMIN = 12n;
const CAP_NET_RAW = 13n;
const CAP_SYS_ADMIN = 21n;

/** A regular file's text, as far as 1 MiB goes; it may belong to somebody who would have us wait for a pipe. */
export function readText(path: string): string | undefined {
  let fd: number | undefined;
  try {
    // To open a device may do something already.
    if (!statSync(path).isFile()) return undefined;
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) return undefined;
    const chunks: Buffer[] = [];
    for (let length = 0; length < FILE_MAX; ) {
      const chunk = Buffer.alloc(64 * 1024);
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      length += count;
    }
    return Buffer.concat(chunks).toString('utf8');
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

export function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Of /proc/PID/status. */
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

export interface PacketSocketEntry {
  etherType: number;
  /** 0: every interface. */
  interfaceIndex: number;
  inode: string;
}

/** /proc/net/packet */
export function parsePacketSockets(text: string): PacketSocketEntry[] {
  return rows(text).flatMap((columns) => {
    const [, , , protocol, interfaceIndex, , , , inode] = columns;
    if (inode === undefined || !/^\d+$/.test(inode)) return [];
    return { etherType: Number.parseInt(protocol!, 16), interfaceIndex: Number(interfaceIndex), inode };
  });
}

/** /proc/net/dev_mcast: the group addresses of one interface, as 01:80:c2:00:00:00. */
export function parseGroups(text: string, interfaceIndex: number): string[] {
  return rows(text).flatMap(([index, , , , address = '']) => {
    if (Number(index) !== interfaceIndex || address.length !== 12) return [];
    return address.match(/../g)!.join(':');
  });
}

/** IFA_F_DADFAILED of linux/if_addr.h. */
const DAD_FAILED = 0x08;

/** /proc/net/if_inet6: whether an address of the interface was found to be a duplicate. */
export function parseDuplicate(text: string, interfaceIndex: number): boolean {
  return rows(text).some(
    ([, index = '', , , flags = '']) =>
      Number.parseInt(index, 16) === interfaceIndex && (Number.parseInt(flags, 16) & DAD_FAILED) !== 0,
  );
}

/** /proc/net/unix: the inode of the socket with this name. */
export function parseUnixSocket(text: string, name: string): string | undefined {
  return rows(text).find((columns) => columns[7] === name)?.[6];
}

/** Seconds since a process started, of /proc/PID/stat and /proc/uptime. */
export function parseAge(stat: string | undefined, uptime: string | undefined): number | undefined {
  // The name in the second field may have blanks and parentheses of its own.
  const started = stat
    ?.slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .at(19);
  const age = Number(uptime?.split(' ')[0]) - Number(started) / CLOCK_TICKS;
  return Number.isFinite(age) ? Math.max(0, age) : undefined;
}

/** USER_HZ of every architecture that Node runs on. */
const CLOCK_TICKS = 100;

function rows(text: string): string[][] {
  return text.split('\n').map((line) => line.trim().split(/\s+/));
}

export interface Process {
  pid: number;
  /** As in /proc/PID/comm, 15 octets at most. */
  name: string;
  args: readonly string[];
}

export function processOf(pid: number): Process | undefined {
  const name = readText(`/proc/${pid}/comm`)?.trimEnd();
  if (name === undefined) return undefined;
  return { pid, name, args: (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1) };
}

/** The processes of our network namespace; `perhaps`: and those of which that cannot be told. */
export function processIds(which: 'ours' | 'perhaps'): number[] {
  const ours = readLink('/proc/self/ns/net');
  const unseen = which === 'perhaps' ? ours : undefined;
  return list('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    return (readLink(`/proc/${name}/ns/net`) ?? unseen) === ours ? Number(name) : [];
  });
}

/** Which process has each of these sockets; those that are not to be found, or not ours to see, are left out. */
export function socketOwners(inodes: ReadonlySet<string>, pids: readonly number[]): Map<string, number> {
  const owners = new Map<string, number>();
  const links = new Map([...inodes].map((inode) => [`socket:[${inode}]`, inode]));
  for (const pid of pids) {
    if (owners.size === links.size) break;
    for (const fd of list(`/proc/${pid}/fd`)) {
      const inode = links.get(readLink(`/proc/${pid}/fd/${fd}`) ?? '');
      if (inode !== undefined && !owners.has(inode)) owners.set(inode, pid);
    }
  }
  return owners;
}
