/** Small readers of /proc and /sys, and of files of others. Nothing here throws: what is not there, or not to be read, is undefined. */

import {
  closeSync,
  constants,
  fstatSync,
  opendirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statfsSync,
} from 'node:fs';
import process from 'node:process';

const FILE_MAX = 1024 * 1024;

/** open(2), which Node has no name for: the file is held and nothing of it is touched, as to open a device may do something already. */
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** As the kernel's own. */
const LINKS_MAX = 40;
/** statfs(2): file systems whose files do something when they are read, or are answered by somebody else. */
const NOT_STORED = [
  0x9fa0, // proc
  0x62656572, // sysfs
  0x64626720, // debugfs
  0x74726163, // tracefs
  0x73636673, // securityfs
  0x62656570, // configfs
  0x6165676c, // pstore
  0x27e0eb, // cgroup
  0x63677270, // cgroup2
  0x65735546, // FUSE
];

/** A file of /proc or /sys, none that somebody else has named, as far as 1 MiB goes. */
export function readText(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, O_PATH | O_NOFOLLOW);
    return contentOf(fd);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A stored file as a process with this root folder sees it, as far as 1 MiB goes. */
export function readWithin(root: string, path: string): string | undefined {
  return within(root, path, (fd) =>
    NOT_STORED.includes(statfsSync(`/proc/self/fd/${fd}`).type) ? undefined : contentOf(fd),
  );
}

/** Names in a folder as a process with this root folder sees them, at most so many; undefined: there are more. */
export function listWithin(root: string, path: string, most: number): string[] | undefined {
  const names: string[] = [];
  within(root, path, (fd) => {
    const folder = opendirSync(`/proc/self/fd/${fd}`);
    try {
      for (let entry = folder.readSync(); entry !== null && names.length <= most; entry = folder.readSync())
        names.push(entry.name);
    } finally {
      folder.closeSync();
    }
  });
  return names.length > most ? undefined : names;
}

/** Goes from folder to folder with each one held: symbolic links, also such as are put there meanwhile, do not lead out of the root. */
function within<T>(root: string, path: string, use: (fd: number) => T): T | undefined {
  const held: number[] = [];
  const leave = (count: number) => {
    for (const fd of held.splice(held.length - count)) closeSync(fd);
  };
  try {
    held.push(openSync(root, O_PATH | O_DIRECTORY));
    const names = path.split('/');
    let links = 0;
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        leave(Math.min(1, held.length - 1));
        continue;
      }
      const place = `/proc/self/fd/${held.at(-1)}/${name}`;
      held.push(openSync(place, O_PATH | O_NOFOLLOW));
      if (!fstatSync(held.at(-1)!).isSymbolicLink()) continue;
      leave(1);
      if (++links > LINKS_MAX) return undefined;
      const target = readlinkSync(place);
      if (target.startsWith('/')) leave(held.length - 1);
      names.unshift(...target.split('/'));
    }
    return use(held.at(-1)!);
  } catch {
    return undefined;
  } finally {
    leave(held.length);
  }
}

/** Of a regular file, held with O_PATH; it may belong to somebody who would have us wait for a pipe. */
function contentOf(held: number): string | undefined {
  if (!fstatSync(held).isFile()) return undefined;
  const fd = openSync(`/proc/self/fd/${held}`, O_RDONLY | O_NONBLOCK);
  try {
    const chunks: Buffer[] = [];
    for (let length = 0; length < FILE_MAX; ) {
      const chunk = Buffer.alloc(64 * 1024);
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      length += count;
    }
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    closeSync(fd);
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

/** /proc/net/unix: the inodes of the sockets with this name, which a path may look like too. */
export function parseUnixSockets(text: string, name: string): string[] {
  return rows(text).flatMap((columns) => (columns[7] === name ? columns[6]! : []));
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
  /** Its real user; absent: not of our user namespace. */
  user?: number;
}

export function processOf(pid: number): Process | undefined {
  const name = readText(`/proc/${pid}/comm`)?.trimEnd();
  if (name === undefined) return undefined;
  const args = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1);
  const user = parseUser(readText(`/proc/${pid}/status`));
  const ours = readLink('/proc/self/ns/user');
  // Only root sees it of others; who is not root reads with no rights but his own.
  const theirs = readLink(`/proc/${pid}/ns/user`) ?? (process.getuid?.() === 0 ? undefined : ours);
  return { pid, name, args, ...(user !== undefined && theirs === ours && { user }) };
}

/** The real one of /proc/PID/status: the effective one may be lent by a setuid bit. */
export function parseUser(status: string | undefined): number | undefined {
  const user = /^Uid:\s*(\d+)\s/m.exec(status ?? '')?.[1];
  return user === undefined ? undefined : Number(user);
}

/** Of /etc/passwd. */
export function parseUserId(passwd: string | undefined, name: string): number | undefined {
  const id = passwd
    ?.split('\n')
    .map((line) => line.split(':'))
    .find(([each]) => each === name)?.[2];
  return id !== undefined && /^\d+$/.test(id) ? Number(id) : undefined;
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
