import { EventEmitter } from 'node:events';
import { closeSync, openSync, readdirSync, statSync } from 'node:fs';
import type { MacAddress } from '../../protocols/octets/index.ts';
import type {
  Link,
  LinkMessage,
  MacvlanMode,
  NamespaceMessage,
  VlanTag,
} from '../../protocols/rtnetlink/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';
import type { LinkWatch, MovedTo } from './link-watch.ts';
import type { Rtnetlink } from './rtnetlink.ts';

const SLAVE_KINDS = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap'] as const;

/** A virtual interface on top of an uplink, wherever it lives. */
export interface Slave {
  /** Its own as long as it lives, also when it is renamed or moves to another namespace. */
  readonly serial: number;
  readonly name: string;
  readonly index: number;
  /** Id of the namespace that it is in; undefined: ours. */
  readonly namespaceId?: number;
  readonly kind: (typeof SLAVE_KINDS)[number];
  readonly mode: string;
  /** Its frames go to the adjacent switch, also those for its neighbours. */
  readonly vepa: boolean;
  /** Absent where it has none of six octets. */
  readonly mac?: MacAddress;
  /** Of the VLAN devices between it and the uplink, the one that it stands on first. */
  readonly vlans: readonly VlanTag[];
  /** Index of the uplink, in our namespace. */
  readonly uplink: number;
}

/** A slave that was in VEPA mode and that we have set to bridge mode; plain data, to be kept as JSON. */
export interface SwitchedSlave {
  name: string;
  index: number;
  namespaceId?: number;
  mac?: string;
}

interface Candidate {
  serial: number;
  link: Link;
  namespaceId: number | undefined;
  /** Which of all that was heard this is. */
  heard: number;
}

/** Folders in which container engines and iproute2 keep namespaces without a process. */
const NAMESPACE_FOLDERS = ['/run/netns', '/run/docker/netns', '/var/run/netns'];
/** VLAN devices on top of each other; the kernel takes less. */
const NESTING_MAX = 8;
/** Rest after a search, in times that it took: who moves a slave to and fro without end does not keep us busy. */
const SEARCH_REST = 9;
/** Milliseconds; on a busy machine a search takes long without doing much. */
const SEARCH_REST_MAX = 500;

/**
 * The macvlan and ipvlan slaves of every interface of our namespace, also those that live in other namespaces. It is driven by
 * the kernel's events; what they cannot tell is looked up: slaves that are elsewhere already when we start, or that move from
 * one foreign namespace to another. A change of mode the kernel tells only of a slave that is up. Emits `changed` once for all that
 * came together, `trouble` with a line for the log.
 */
export class SlaveWatch extends EventEmitter<{ changed: []; trouble: [text: string] }> {
  readonly #rtnetlink: Rtnetlink;
  readonly #links: LinkWatch;
  readonly #candidates = new Map<string, Candidate>();
  /** Left a foreign namespace for one that we have not found yet. */
  readonly #moving = new Set<Candidate>();
  #serials = 0;
  #heard = 0;
  #told = false;
  /** Events were lost: slaves elsewhere may have changed or gone without a word. */
  #lost = false;
  /** Foreign interfaces that are being looked up; true: more was heard of them since. */
  readonly #verifying = new Map<string, boolean>();
  /** What left while a question was under way, for each such question: its answer may still tell of it. */
  readonly #left = new Set<Set<string>>();
  #search: Promise<void> | undefined;
  #rest: NodeJS.Timeout | undefined;
  #searchAgain = false;
  #closed = false;

  /** Listens from here on; `start()` once the link watch has its table. */
  constructor(rtnetlink: Rtnetlink, links: LinkWatch) {
    super();
    this.#rtnetlink = rtnetlink;
    this.#links = links;
    links.on('added', (link) => this.#put(link, undefined));
    links.on('changed', (link) => this.#put(link, undefined));
    links.on('unchanged', (link) => this.#below(link));
    links.on('removed', (link, movedTo) => this.#removed(link, movedTo));
    links.on('foreign', (namespaceId, message) => this.#foreign(namespaceId, message));
    links.on('namespace', (message) => this.#namespace(message));
    links.on('resynced', () => {
      this.#lost = true;
      void this.search();
    });
  }

  /** Finds the slaves that live elsewhere already. */
  async start(): Promise<void> {
    for (const link of this.#links.links) this.#put(link, undefined);
    await this.search();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#rest);
  }

  /** Those on top of an interface of our namespace. */
  slavesOf(uplink: number): Slave[] {
    return [...this.#candidates.values(), ...this.#moving].flatMap((candidate) => {
      const slave = this.#slave(candidate);
      return slave?.uplink === uplink ? [slave] : [];
    });
  }

  /** Sets the mode of a macvlan or macvtap of our namespace. Rejects with KernelError; ENODEV: it has gone. */
  async setMode({ index }: Slave, mode: MacvlanMode): Promise<void> {
    const key = keyOf(index, undefined);
    const link = this.#candidates.get(key)?.link;
    if (link === undefined) return;
    await this.#rtnetlink.setMacvlanMode(link, mode);
    // The kernel tells of it only where the interface is up.
    const now = await this.#rtnetlink.link(index);
    if (now !== undefined && this.#candidates.has(key)) this.#put(now, undefined);
  }

  /** Looks into every namespace that can be found, at once or after the rest that is due. Never rejects. */
  search(): Promise<void> {
    if (this.#search !== undefined || this.#rest !== undefined) {
      this.#searchAgain = true;
      return this.#search ?? Promise.resolve();
    }
    const begun = performance.now();
    this.#search = this.#searchAll().finally(() => {
      this.#search = undefined;
      if (this.#closed) return;
      this.#rest = setTimeout(
        () => {
          this.#rest = undefined;
          if (!this.#searchAgain) return;
          this.#searchAgain = false;
          void this.search();
        },
        Math.min(SEARCH_REST_MAX, SEARCH_REST * (performance.now() - begun)),
      );
    });
    return this.#search;
  }

  #slave({ serial, link, namespaceId }: Candidate): Slave | undefined {
    const vlans: VlanTag[] = [];
    let below = this.#links.get(link.parent ?? 0);
    while (below?.vlan !== undefined && below.parent !== undefined && vlans.length < NESTING_MAX) {
      vlans.push(below.vlan);
      below = this.#links.get(below.parent);
    }
    if (below === undefined) return undefined;
    const { name, index, macvlanMode, ipvlan, mac } = link;
    const mode = macvlanMode ?? (ipvlan === undefined ? 'unknown' : `${ipvlan.mode} ${ipvlan.isolation}`);
    return {
      serial,
      name,
      index,
      ...(namespaceId === undefined ? {} : { namespaceId }),
      kind: link.kind as Slave['kind'],
      mode,
      vepa: macvlanMode === 'vepa' || ipvlan?.isolation === 'vepa',
      ...(mac === undefined ? {} : { mac }),
      vlans,
      uplink: below.index,
    };
  }

  /** A link as it is now, in our namespace or in one where its lower device is ours. */
  #put(link: Link, namespaceId: number | undefined): void {
    if (!isCandidate(link)) {
      // What is below the slaves may have changed.
      if (namespaceId === undefined && this.#candidates.size > 0) this.#tell();
      return;
    }
    const inOurs = link.linkNamespaceId === undefined || link.linkNamespaceId === this.#links.self;
    if (namespaceId === undefined && !inOurs) return;
    const key = keyOf(link.index, namespaceId);
    const known = this.#candidates.get(key) ?? this.#arrival(link);
    const serial = known?.serial ?? ++this.#serials;
    this.#candidates.set(key, { serial, link, namespaceId, heard: ++this.#heard });
    this.#tell();
  }

  /**
   * What tells of a slave that is made in a namespace without an id is its lower device alone, as the slave comes (netavark and
   * CNI make theirs so). Neither a slave nor the port of another interface can be one.
   */
  #below(link: Link): void {
    if (!isCandidate(link) && link.master === undefined) void this.search();
  }

  /** One that left a foreign namespace, come to rest: with the index that it was to have, or with the address that it had. */
  #arrival(link: Link): Candidate | undefined {
    const alike = ({ link: left }: Candidate) => left.parent === link.parent && left.kind === link.kind;
    const moving = [...this.#moving].filter(alike);
    const found =
      moving.find(({ link: left }) => left.mac === link.mac) ??
      moving.find(({ link: left }) => left.index === link.index);
    if (found !== undefined) this.#moving.delete(found);
    return found;
  }

  #removed(link: Link, movedTo: MovedTo | undefined): void {
    const key = keyOf(link.index, undefined);
    const candidate = this.#candidates.get(key);
    this.#candidates.delete(key);
    if (candidate !== undefined && movedTo !== undefined) {
      const { namespaceId, index } = movedTo;
      const there = keyOf(index, namespaceId);
      // What has been heard from there already is newer.
      const newer = this.#candidates.get(there)?.link ?? { ...candidate.link, index };
      const heard = ++this.#heard;
      this.#candidates.set(there, { serial: candidate.serial, link: newer, namespaceId, heard });
    }
    if (candidate !== undefined || this.#candidates.size > 0) this.#tell();
  }

  #foreign(namespaceId: number, message: LinkMessage): void {
    const { deleted, family, link, newNamespaceId, newIndex } = message;
    if (family !== 'link') return;
    const key = keyOf(link.index, namespaceId);
    const candidate = this.#candidates.get(key);
    if (deleted) for (const left of this.#left) left.add(key);
    if (!deleted) {
      if (candidate !== undefined) this.#put(link, namespaceId);
      else if (isCandidate(link)) void this.#verify(link.index, namespaceId);
      return;
    }
    if (candidate === undefined) return;
    this.#candidates.delete(key);
    if (newNamespaceId !== undefined) {
      // Its new namespace is told by an id that only the one it left knows.
      this.#moving.add({ ...candidate, link: { ...candidate.link, index: newIndex ?? link.index } });
      void this.search();
    } else this.#tell();
  }

  #namespace({ deleted, namespaceId }: NamespaceMessage): void {
    if (namespaceId === undefined || namespaceId === this.#links.self) return;
    if (!deleted) {
      void this.#look(namespaceId);
      return;
    }
    // A namespace that ends takes its interfaces along without a word.
    for (const left of this.#left) left.add(`${namespaceId}`);
    this.#forget((candidate) => candidate.namespaceId === namespaceId);
  }

  #forget(gone: (candidate: Candidate) => boolean): void {
    for (const [key, candidate] of this.#candidates) if (gone(candidate)) this.#candidates.delete(key);
    this.#tell();
  }

  /** Whether the lower device of a foreign interface is ours only its kernel table tells, seen from here. */
  async #verify(index: number, namespaceId: number): Promise<void> {
    const key = keyOf(index, namespaceId);
    const underWay = this.#verifying.has(key);
    this.#verifying.set(key, underWay);
    if (underWay) return;
    do {
      this.#verifying.set(key, false);
      try {
        const before = this.#heard;
        await this.#ask(this.#rtnetlink.link(index, namespaceId), (link, left) => {
          if (link !== undefined) this.#adopt(link, namespaceId, left, before);
        });
      } catch (error) {
        this.#trouble(error);
      }
    } while (this.#verifying.get(key) && !this.#closed);
    this.#verifying.delete(key);
  }

  /** The slaves in one namespace. `anew`: what was heard of them before counts no longer. */
  async #look(namespaceId: number, anew = false): Promise<void> {
    try {
      const before = anew ? this.#heard : Number.NEGATIVE_INFINITY;
      await this.#ask(this.#rtnetlink.links(namespaceId), (links, left) => {
        const ours = new Set<number>();
        for (const link of links) if (this.#adopt(link, namespaceId, left, before)) ours.add(link.index);
        this.#forget(
          ({ namespaceId: id, link, heard }) =>
            id === namespaceId && heard <= before && !ours.has(link.index),
        );
      });
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Answers come on another socket than events: one may be older than an event that was heard before it. */
  async #ask<T>(asked: Promise<T>, take: (answer: T, left: ReadonlySet<string>) => void): Promise<void> {
    const left = new Set<string>();
    this.#left.add(left);
    try {
      take(await asked, left);
    } finally {
      this.#left.delete(left);
    }
  }

  /** True when it is one of ours, known or not. An event that came since `before` is newer. */
  #adopt(link: Link, namespaceId: number, left: ReadonlySet<string>, before: number): boolean {
    if (this.#closed || link.linkNamespaceId !== this.#links.self) return false;
    const key = keyOf(link.index, namespaceId);
    if (left.has(key) || left.has(`${namespaceId}`)) return false;
    const known = this.#candidates.get(key);
    if (known === undefined || known.heard <= before) this.#put(link, namespaceId);
    return isCandidate(link);
  }

  async #searchAll(): Promise<void> {
    const { self } = this.#links;
    const moving = [...this.#moving];
    const anew = this.#lost;
    this.#lost = false;
    if (self !== undefined) {
      await this.#nameNamespaces();
      try {
        const before = anew ? this.#heard : Number.NEGATIVE_INFINITY;
        const ids = await this.#rtnetlink.namespaces();
        for (const id of ids) if (id !== self) await this.#look(id, anew);
        this.#forget(({ namespaceId, heard }) => {
          return namespaceId !== undefined && heard <= before && !ids.includes(namespaceId);
        });
      } catch (error) {
        this.#lost ||= anew;
        this.#trouble(error);
      }
    }
    for (const candidate of moving) this.#moving.delete(candidate);
    this.#tell();
  }

  /** The kernel tells of namespaces only that have an id in ours. */
  async #nameNamespaces(): Promise<void> {
    for (const path of namespacePaths()) {
      let fd: number;
      try {
        fd = openSync(path, 'r');
      } catch {
        // It ended meanwhile, or is not ours to look into.
        continue;
      }
      try {
        await this.#rtnetlink.namespaceId({ fd });
      } catch (error) {
        this.#trouble(error);
      } finally {
        closeSync(fd);
      }
    }
  }

  /** What has gone meanwhile is no trouble: its event comes. */
  #trouble(error: unknown): void {
    if (this.#closed || hasCode(error, 'EINVAL', 'ENODEV', 'ENOENT', 'ECANCELED')) return;
    const text = error instanceof KernelError ? error.message : String(error);
    this.emit('trouble', `interfaces in other network namespaces may be missed: ${text}`);
  }

  /** Once for all that comes within one turn. */
  #tell(): void {
    if (this.#told || this.#closed) return;
    this.#told = true;
    setImmediate(() => {
      this.#told = false;
      if (!this.#closed) this.emit('changed');
    });
  }
}

function keyOf(index: number, namespaceId: number | undefined): string {
  return `${namespaceId ?? ''}:${index}`;
}

function isCandidate(link: Link): boolean {
  return link.parent !== undefined && (SLAVE_KINDS as readonly (string | undefined)[]).includes(link.kind);
}

/** A path to each network namespace but ours, once. */
function namespacePaths(): string[] {
  const paths = new Map<number, string>();
  const inode = (path: string) => {
    try {
      return statSync(path).ino;
    } catch {
      return undefined;
    }
  };
  const list = (folder: string) => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  };
  const processes = list('/proc').filter((name) => /^\d+$/.test(name));
  const candidates = [
    ...NAMESPACE_FOLDERS.flatMap((folder) => list(folder).map((name) => `${folder}/${name}`)),
    ...processes.map((pid) => `/proc/${pid}/ns/net`),
  ];
  const own = inode('/proc/self/ns/net');
  for (const path of candidates) {
    const ino = inode(path);
    if (ino !== undefined && ino !== own && !paths.has(ino)) paths.set(ino, path);
  }
  return [...paths.values()];
}
