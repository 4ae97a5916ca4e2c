import { EventEmitter } from 'node:events';
import { closeSync, constants, openSync, readdirSync, statSync } from 'node:fs';
import process from 'node:process';
import { isDeepStrictEqual } from 'node:util';
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
import { Rtnetlink } from './rtnetlink.ts';

const SLAVE_KINDS = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap'] as const;

/** A virtual interface on top of an uplink, wherever it lives. */
export interface Slave {
  /** Its own as long as it lives, also when it is renamed or moves to another namespace. */
  readonly serial: number;
  readonly name: string;
  readonly index: number;
  /** Id of the namespace that it is in; undefined: ours. */
  readonly namespaceId?: number;
  /** Id of the namespace in which it was first seen, negative when that has ended since; undefined: ours. */
  readonly origin?: number;
  readonly kind: (typeof SLAVE_KINDS)[number];
  readonly mode: string;
  readonly up: boolean;
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
  /** An id is given to another namespace when its own has ended. */
  namespaceId?: number;
  /** `SlaveWatch.placeOf()` it. */
  place?: string;
  mac?: string;
}

interface Candidate {
  serial: number;
  link: Link;
  namespaceId: number | undefined;
  /** As the slave's. */
  origin: number | undefined;
  /** Which of all that was heard this is. */
  heard: number;
  /** As it was shown last, and whether it may have changed since. */
  slave?: Slave | undefined;
  stale: boolean;
  /** What it stands on has gone to another namespace; of its coming back the kernel tells nothing. */
  aloft?: boolean;
}

/** Folders in which container engines and iproute2 keep namespaces without a process. */
const NAMESPACE_FOLDERS = ['/run/netns', '/run/docker/netns', '/var/run/netns'];
/** VLAN devices on top of each other; the kernel takes less. */
const NESTING_MAX = 8;
/** Rest after what others can cause without end, in times the CPU that it took. */
const REST = 9;
/** Foreign interfaces looked up one by one. */
const VERIFIED_AT_ONCE = 64;
/** Foreign interfaces that are remembered to have left while there are questions. */
const LEFT_MAX = 4096;

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
  /** Namespaces that have ended and left slaves elsewhere. */
  #ended = 0;
  #heard = 0;
  #told = false;
  /** After `changed`. */
  #quiet: NodeJS.Timeout | undefined;
  /** Events were lost: slaves elsewhere may have changed or gone without a word. */
  #lost = false;
  /** Foreign interfaces that are being looked up; true: more was heard of them since. */
  readonly #verifying = new Map<string, boolean>();
  /** Questions under way, whose answers may still tell of what has left since they were asked. */
  #questions = 0;
  /** While there are any: what left, and which of all that was heard that was. */
  readonly #left = new Map<string, number>();
  /** Answers to older questions count no longer: too much has left meanwhile. */
  #leftTooMuch = 0;
  /** Told already, since the last search that went well. */
  readonly #troubles = new Set<string>();
  #troubled = false;
  #search: Promise<void> | undefined;
  #rest: NodeJS.Timeout | undefined;
  /** The search after the one under way, for those who wait for it. */
  #next: { done: Promise<void>; begin(): void } | undefined;
  /** By uplink; undefined: to be made anew. */
  #table: Map<number, Slave[]> | undefined;
  /** Where a namespace was found; to be looked at again before it is gone by, for the id may be another's by now. */
  readonly #paths = new Map<number, string>();
  /** Namespaces that no path leads to. */
  readonly #pathless = new Set<number>();
  #closed = false;

  /** Listens from here on; `start()` once the link watch has its table. */
  constructor(rtnetlink: Rtnetlink, links: LinkWatch) {
    super();
    this.#rtnetlink = rtnetlink;
    this.#links = links;
    links.on('added', (link) => {
      this.#put(link, undefined);
      // With slaves on top of it, where it comes from elsewhere.
      if (link.vlan !== undefined) void this.search();
    });
    links.on('changed', (link, previous) => {
      if (isCandidate(link)) this.#put(link, undefined);
      else if (link.name !== previous.name || !sameBelow(link, previous)) this.#below();
      if (link.mac !== previous.mac) void this.#inherit(link);
    });
    links.on('unchanged', (link) => this.#mentioned(link));
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
    clearTimeout(this.#quiet);
    if (this.#search === undefined) this.#rested();
  }

  /** Those on top of an interface of our namespace. A slave that has not changed is the same object. */
  slavesOf(uplink: number): readonly Slave[] {
    if (this.#table === undefined) {
      this.#table = new Map();
      for (const candidate of [...this.#candidates.values(), ...this.#moving]) {
        const slave = this.#shown(candidate);
        if (slave === undefined) continue;
        const slaves = this.#table.get(slave.uplink);
        if (slaves === undefined) this.#table.set(slave.uplink, [slave]);
        else slaves.push(slave);
      }
    }
    return this.#table.get(uplink) ?? [];
  }

  /**
   * A namespace by a name that no other has until the next boot; undefined: the kernel gives none. Rejects with KernelError as
   * `setMode` does.
   */
  async placeOf(namespaceId: number | undefined): Promise<string | undefined> {
    if (namespaceId === undefined) return this.#rtnetlink.namespaceCookie;
    return this.#within(namespaceId, async (there) => there.namespaceCookie);
  }

  /**
   * Sets the mode of a macvlan or macvtap, wherever it is; `place`: only there. Rejects with KernelError; ENODEV: it has gone, or
   * is another one by now; EPERM in a foreign namespace: that one may not be entered.
   */
  async setMode(
    { name, index, namespaceId, kind, mac, uplink }: Slave,
    mode: MacvlanMode,
    place?: string,
  ): Promise<void> {
    const key = keyOf(index, namespaceId);
    if (namespaceId === undefined) {
      const link = this.#candidates.get(key)?.link;
      if (link !== undefined) await this.#rtnetlink.setMacvlanMode(link, mode);
    } else
      await this.#within(namespaceId, async (there) => {
        const gone = new KernelError(
          `set ${name} to macvlan mode ${mode}`,
          'ENODEV',
          'it is no longer there',
        );
        if (place !== undefined && place !== there.namespaceCookie) throw gone;
        // Seen from here, which tells whose its lower device is.
        const link = await this.#rtnetlink.link(index, namespaceId);
        const known = this.#candidates.get(key);
        const same = link?.kind === kind && link.mac === mac && link.parent === known?.link.parent;
        if (!same || link?.linkNamespaceId !== this.#links.self || known?.slave?.uplink !== uplink)
          throw gone;
        await there.setMacvlanMode(link, mode);
      });
    // The kernel tells of it only where the interface is up.
    const now = await this.#rtnetlink.link(index, namespaceId);
    if (now !== undefined && this.#candidates.has(key)) this.#put(now, namespaceId);
  }

  /**
   * Looks into every namespace that can be found, at once or after the rest that is due; resolves when that is done. To be called
   * when an interface has come that may have been elsewhere with slaves on top of it. Never rejects.
   */
  search(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#search !== undefined || this.#rest !== undefined) {
      if (this.#next === undefined) {
        let begin = () => {};
        const done = new Promise<void>((resolve) => {
          begin = () => resolve(this.search());
        });
        this.#next = { done, begin };
      }
      return this.#next.done;
    }
    const begun = process.cpuUsage();
    this.#search = this.#searchAll().finally(() => {
      this.#search = undefined;
      // On a busy machine a search takes long without doing much.
      const { user, system } = process.cpuUsage(begun);
      this.#rest = setTimeout(() => this.#rested(), (REST * (user + system)) / 1_000);
      if (this.#closed) this.#rested();
    });
    return this.#search;
  }

  #rested(): void {
    clearTimeout(this.#rest);
    this.#rest = undefined;
    const next = this.#next;
    this.#next = undefined;
    next?.begin();
  }

  /** With rtnetlink in a foreign namespace, which stays the one with this id until `act` is done. */
  async #within<T>(namespaceId: number, act: (there: Rtnetlink) => Promise<T>): Promise<T> {
    const fd = await this.#open(namespaceId);
    let there: Rtnetlink | undefined;
    try {
      there = new Rtnetlink({ namespace: fd });
      return await act(there);
    } catch (error) {
      // A namespace that we may enter is one in which we may do all.
      if (there !== undefined || !hasCode(error, 'EPERM')) throw error;
      const what = 'change the mode of slaves in other network namespaces';
      throw new KernelError(what, 'EPERM', 'CAP_SYS_ADMIN is needed');
    } finally {
      there?.close();
      closeSync(fd);
    }
  }

  /** File descriptor of the namespace with this id. Rejects with KernelError. */
  async #open(namespaceId: number): Promise<number> {
    const known = this.#paths.get(namespaceId);
    const fd = known === undefined ? undefined : await this.#openIf(known, namespaceId);
    if (fd !== undefined) return fd;
    this.#paths.delete(namespaceId);
    // Of namespaces without number each is looked for once.
    if (!this.#pathless.has(namespaceId)) {
      for (const path of namespacePaths()) {
        const found = await this.#openIf(path, namespaceId);
        if (found !== undefined) return found;
      }
      this.#pathless.add(namespaceId);
    }
    const reason = 'no name in /run/netns and no process leads there, or none that evbd may follow';
    throw new KernelError(`enter network namespace ${namespaceId}`, 'ENOENT', reason);
  }

  /** Names the namespace and keeps it open if it is the one with this id. */
  async #openIf(path: string, namespaceId: number | undefined): Promise<number | undefined> {
    let fd: number;
    try {
      // A FIFO would be waited for.
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      // It ended meanwhile, or is not ours to look into.
      return undefined;
    }
    let isIt = false;
    try {
      const id = await this.#rtnetlink.namespaceId({ fd });
      isIt = id === namespaceId;
      this.#paths.set(id, path);
    } catch (error) {
      this.#trouble(error);
    } finally {
      if (!isIt) closeSync(fd);
    }
    return isIt ? fd : undefined;
  }

  /** The slave that a candidate is; undefined: what it stands on is not here. */
  #shown(candidate: Candidate): Slave | undefined {
    if (candidate.stale) {
      const slave = this.#slave(candidate);
      if (!isDeepStrictEqual(slave, candidate.slave)) candidate.slave = slave;
      candidate.stale = false;
    }
    return candidate.slave;
  }

  #slave({ serial, link, namespaceId, origin, aloft }: Candidate): Slave | undefined {
    if (aloft) return undefined;
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
      ...(origin === undefined ? {} : { origin }),
      kind: link.kind as Slave['kind'],
      mode,
      up: link.up,
      vepa: macvlanMode === 'vepa' || ipvlan?.isolation === 'vepa',
      ...(mac === undefined ? {} : { mac }),
      vlans,
      uplink: below.index,
    };
  }

  /** A link as it is now, in our namespace or in one where its lower device is ours. */
  #put(link: Link, namespaceId: number | undefined): void {
    if (!isCandidate(link)) {
      if (namespaceId === undefined) this.#below();
      return;
    }
    const key = keyOf(link.index, namespaceId);
    const inOurs = link.linkNamespaceId === undefined || link.linkNamespaceId === this.#links.self;
    if (namespaceId === undefined && !inOurs) {
      // What it stands on is in another namespace.
      const there = this.#candidates.get(key);
      if (there !== undefined) Object.assign(there, { aloft: true, stale: true });
      this.#tell();
      return;
    }
    const known = this.#candidates.get(key) ?? this.#arrival(link);
    const serial = known?.serial ?? ++this.#serials;
    const origin = known === undefined ? namespaceId : known.origin;
    const heard = ++this.#heard;
    this.#candidates.set(key, {
      serial,
      link,
      namespaceId,
      origin,
      heard,
      slave: known?.slave,
      stale: true,
    });
    if (link.ipvlan !== undefined) this.#shareIpvlanMode(link);
    this.#tell();
  }

  /** Of slaves that have the address of what they stand on the kernel does not tell that theirs changes with it. */
  async #inherit({ index }: Link): Promise<void> {
    for (const [key, { link, namespaceId }] of [...this.#candidates]) {
      const shares = link.ipvlan !== undefined || link.macvlanMode === 'passthru';
      if (link.parent !== index || !shares) continue;
      try {
        const before = this.#heard;
        const now = await this.#rtnetlink.link(link.index, namespaceId);
        const known = this.#candidates.get(key);
        if (this.#closed || now === undefined || known === undefined || known.aloft) continue;
        if (known.heard <= before && now.parent === index) this.#put(now, namespaceId);
      } catch (error) {
        this.#trouble(error);
      }
    }
  }

  /** What is below slaves may have changed. */
  #below(): void {
    if (this.#candidates.size === 0) return;
    for (const candidate of [...this.#candidates.values(), ...this.#moving]) candidate.stale = true;
    this.#tell();
  }

  /**
   * What tells of a slave that is made in a namespace without an id is its lower device alone, as the slave comes (netavark and
   * CNI make theirs so). Neither a slave nor the port of another interface can be one.
   */
  #mentioned(link: Link): void {
    if (!isCandidate(link) && link.master === undefined) void this.search();
  }

  /** The ipvlans of one interface have one mode and isolation; the kernel tells of a change only for the one that it came by. */
  #shareIpvlanMode({ parent, ipvlan }: Link): void {
    for (const candidate of this.#candidates.values()) {
      const { link } = candidate;
      if (link.parent !== parent || link.ipvlan === undefined || isDeepStrictEqual(link.ipvlan, ipvlan))
        continue;
      Object.assign(candidate, { link: { ...link, ipvlan }, stale: true });
    }
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
      const { serial, origin, slave } = candidate;
      this.#candidates.set(there, {
        serial,
        link: newer,
        namespaceId,
        origin,
        heard: ++this.#heard,
        slave,
        stale: true,
      });
    }
    if (candidate !== undefined) this.#tell();
    else if (movedTo === undefined) this.#below();
    else this.#leaveAloft(link);
  }

  /** Those on a link of ours that went elsewhere, or on a VLAN device of it: its index may be another's soon. */
  #leaveAloft(link: Link): void {
    const gone = new Set([link.index]);
    // VLAN devices on top of each other, in whatever order they come.
    for (let before = 0; before < gone.size; ) {
      before = gone.size;
      for (const { index, parent, vlan } of this.#links.links)
        if (vlan !== undefined && gone.has(parent ?? 0)) gone.add(index);
    }
    for (const candidate of this.#candidates.values())
      if (gone.has(candidate.link.parent ?? 0)) candidate.aloft = true;
    this.#below();
  }

  #foreign(namespaceId: number, message: LinkMessage): void {
    const { deleted, family, link, newNamespaceId, newIndex } = message;
    if (family !== 'link') return;
    const key = keyOf(link.index, namespaceId);
    const candidate = this.#candidates.get(key);
    if (deleted) this.#leave(key);
    if (!deleted) {
      if (candidate !== undefined && !candidate.aloft) this.#put(link, namespaceId);
      else if (isCandidate(link)) void this.#verify(link.index, namespaceId);
      return;
    }
    if (candidate === undefined) return;
    this.#candidates.delete(key);
    if (newNamespaceId !== undefined) {
      // Its new namespace is told by an id that only the one it left knows.
      const left = { ...candidate.link, index: newIndex ?? link.index };
      this.#moving.add({ ...candidate, link: left, stale: true });
      void this.search();
    } else this.#tell();
  }

  #namespace({ deleted, namespaceId }: NamespaceMessage): void {
    if (namespaceId === undefined || namespaceId === this.#links.self) return;
    this.#paths.delete(namespaceId);
    this.#pathless.delete(namespaceId);
    if (!deleted) {
      void this.#look(namespaceId);
      return;
    }
    // A namespace that ends takes its interfaces along without a word.
    this.#leave(`${namespaceId}`);
    this.#forget((candidate) => candidate.namespaceId === namespaceId);
    this.#orphan(namespaceId);
  }

  /** What was made in a namespace that has ended is not the next one's with its id. */
  #orphan(namespaceId: number): void {
    const orphans = [...this.#candidates.values(), ...this.#moving].filter(
      ({ origin }) => origin === namespaceId,
    );
    if (orphans.length === 0) return;
    this.#ended++;
    for (const candidate of orphans) Object.assign(candidate, { origin: -this.#ended, stale: true });
    this.#tell();
  }

  #forget(gone: (candidate: Candidate) => boolean): void {
    for (const [key, candidate] of this.#candidates) if (gone(candidate)) this.#candidates.delete(key);
    this.#tell();
  }

  /** Whether the lower device of a foreign interface is ours only its kernel table tells, seen from here. */
  async #verify(index: number, namespaceId: number): Promise<void> {
    const key = keyOf(index, namespaceId);
    const underWay = this.#verifying.has(key);
    if (!underWay && this.#verifying.size === VERIFIED_AT_ONCE) {
      // All at once costs less then, and has its rests.
      void this.search();
      return;
    }
    this.#verifying.set(key, underWay);
    if (underWay) return;
    do {
      this.#verifying.set(key, false);
      try {
        const before = this.#heard;
        await this.#ask(this.#rtnetlink.link(index, namespaceId), (link, since) => {
          if (link !== undefined) this.#adopt(link, namespaceId, since, before);
        });
      } catch (error) {
        this.#trouble(error);
      }
    } while (this.#verifying.get(key) && !this.#closed);
    this.#verifying.delete(key);
  }

  /** The slaves in ours: what they stand on may have gone and come back without a word about them. */
  async #lookHere(): Promise<void> {
    try {
      const before = this.#heard;
      for (const link of await this.#rtnetlink.links()) {
        const known = this.#candidates.get(keyOf(link.index, undefined));
        const same = known !== undefined && !known.aloft && isDeepStrictEqual(known.link, link);
        if (this.#closed || !isCandidate(link) || same || (known?.heard ?? 0) > before) continue;
        // Of one that the events do not know, or no longer, they will tell.
        if (this.#links.get(link.index) !== undefined) this.#put(link, undefined);
      }
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** The slaves in one namespace. `anew`: what was heard of them before counts no longer. */
  async #look(namespaceId: number, anew = false): Promise<void> {
    try {
      const before = anew ? this.#heard : Number.NEGATIVE_INFINITY;
      await this.#ask(this.#rtnetlink.links(namespaceId), (links, since) => {
        const ours = new Set<number>();
        for (const link of links) if (this.#adopt(link, namespaceId, since, before)) ours.add(link.index);
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
  async #ask<T>(asked: Promise<T>, take: (answer: T, since: number) => void): Promise<void> {
    const since = this.#heard;
    this.#questions++;
    try {
      const answer = await asked;
      if (since >= this.#leftTooMuch) take(answer, since);
      else void this.search();
    } finally {
      if (--this.#questions === 0) this.#left.clear();
    }
  }

  #leave(key: string): void {
    if (this.#questions === 0) return;
    if (this.#left.size === LEFT_MAX) {
      this.#left.clear();
      this.#leftTooMuch = ++this.#heard;
    } else this.#left.set(key, ++this.#heard);
  }

  #hasLeft(key: string, since: number): boolean {
    return (this.#left.get(key) ?? 0) > since;
  }

  /** True when it is one of ours, known or not. An event that came since `before` is newer. */
  #adopt(link: Link, namespaceId: number, since: number, before: number): boolean {
    if (this.#closed || link.linkNamespaceId !== this.#links.self) return false;
    const key = keyOf(link.index, namespaceId);
    if (this.#hasLeft(key, since) || this.#hasLeft(`${namespaceId}`, since)) return false;
    const known = this.#candidates.get(key);
    if (known === undefined || known.aloft || known.heard <= before) this.#put(link, namespaceId);
    return isCandidate(link);
  }

  async #searchAll(): Promise<void> {
    const { self } = this.#links;
    const moving = [...this.#moving];
    const anew = this.#lost;
    this.#lost = false;
    this.#troubled = false;
    this.#paths.clear();
    this.#pathless.clear();
    await this.#lookHere();
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
    if (!this.#troubled) this.#troubles.clear();
    for (const candidate of moving) this.#moving.delete(candidate);
    this.#tell();
  }

  /** The kernel tells of namespaces only that have an id in ours. */
  async #nameNamespaces(): Promise<void> {
    for (const path of namespacePaths()) await this.#openIf(path, undefined);
  }

  /** What has gone meanwhile is no trouble: its event comes. */
  #trouble(error: unknown): void {
    if (this.#closed || hasCode(error, 'EINVAL', 'ENODEV', 'ENOENT', 'ECANCELED')) return;
    const text = error instanceof KernelError ? error.message : String(error);
    this.#troubled = true;
    if (this.#troubles.has(text)) return;
    this.#troubles.add(text);
    this.emit('trouble', `interfaces in other network namespaces may be missed: ${text}`);
  }

  /** Once for all that comes within one turn, or until the rest is over. */
  #tell(): void {
    this.#table = undefined;
    if (this.#told || this.#closed) return;
    this.#told = true;
    if (this.#quiet === undefined) setImmediate(() => this.#emit());
  }

  #emit(): void {
    if (this.#closed) return;
    this.#told = false;
    const begun = process.cpuUsage();
    this.emit('changed');
    const { user, system } = process.cpuUsage(begun);
    this.#quiet = setTimeout(
      () => {
        this.#quiet = undefined;
        if (this.#told) this.#emit();
      },
      (REST * (user + system)) / 1_000,
    );
  }
}

function keyOf(index: number, namespaceId: number | undefined): string {
  return `${namespaceId ?? ''}:${index}`;
}

function isCandidate(link: Link): boolean {
  return link.parent !== undefined && (SLAVE_KINDS as readonly (string | undefined)[]).includes(link.kind);
}

/** What is on top of the link is as before. */
function sameBelow(link: Link, previous: Link): boolean {
  return link.parent === previous.parent && isDeepStrictEqual(link.vlan, previous.vlan);
}

/** A path to each network namespace but ours, once. */
function namespacePaths(): string[] {
  const paths = new Map<number, string>();
  const device = statSync('/proc/self/ns/net').dev;
  const inode = (path: string) => {
    try {
      const { ino, dev } = statSync(path);
      return dev === device ? ino : undefined;
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
