import { EventEmitter } from 'node:events';
import process from 'node:process';
import { isDeepStrictEqual } from 'node:util';
import {
  decodeLink,
  decodeMessages,
  decodeNamespace,
  type Link,
  type LinkMessage,
  type NamespaceMessage,
  type NetlinkMessage,
  RTM_DELLINK,
  RTM_DELNSID,
  RTM_NEWLINK,
  RTM_NEWNSID,
  RTNLGRP_LINK,
  RTNLGRP_NSID,
} from '../../protocols/rtnetlink/index.ts';
import { type NetlinkMessageIn, NetlinkSocket } from '../raw-socket/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';
import type { Rtnetlink } from './rtnetlink.ts';

const RETRY_AFTER = 1000;
/** Of the event loop; a stream of events that does not end shall not hold up the table. */
const MOST_TURNS = 100;
const nextTurn = () => new Promise(setImmediate);

/** Where a link went that left this namespace: the namespace's id as seen from ours, and the link's index there. */
export interface MovedTo {
  namespaceId: number;
  index: number;
}

export interface LinkWatchEvents {
  added: [link: Link];
  /** Never without a difference; a change of name is also told as `renamed`, before this. */
  changed: [link: Link, previous: Link];
  renamed: [link: Link, previousName: string];
  /** The kernel told of it without a difference: as when an interface that stands on it, in whatever namespace, comes or goes. */
  unchanged: [link: Link];
  /** `movedTo`: it lives on in another namespace. */
  removed: [link: Link, movedTo?: MovedTo];
  /** Events were lost (the machine was too slow for them) and the table has been read anew; the differences were emitted. */
  resynced: [];
  /** Of another namespace that has an id in ours. */
  foreign: [namespaceId: number, message: LinkMessage];
  /** A namespace got an id in ours, or lost it with its end. */
  namespace: [message: NamespaceMessage];
  /** Events or the table could not be read. The watch goes on: it reads the table anew by itself. */
  error: [error: KernelError];
}

/**
 * The links of this process's network namespace, kept up to date by the kernel's events: nothing polls.
 * Two changes in quick succession are two events, except while the table is read anew: then only the outcome is told.
 * It keeps the process alive until `close()`.
 */
export class LinkWatch extends EventEmitter<LinkWatchEvents> {
  readonly #rtnetlink: Rtnetlink;
  readonly #socket: NetlinkSocket;
  #self: number | undefined;
  #links = new Map<number, Link>();
  #byName = new Map<string, Link>();
  /** Events held back while the table is read; undefined otherwise. */
  #held: LinkMessage[] | undefined = [];
  #stale = false;
  #closed = false;
  #retry?: NodeJS.Timeout;

  /** Listening begins here, the table is there after `start()`. `receiveBuffer`: octets. Throws KernelError. */
  constructor(rtnetlink: Rtnetlink, options: { receiveBuffer?: number } = {}) {
    super();
    this.#rtnetlink = rtnetlink;
    try {
      this.#socket = new NetlinkSocket({
        groups: [RTNLGRP_LINK, RTNLGRP_NSID],
        listenAllNamespaces: true,
        receiveBuffer: options.receiveBuffer ?? 4 * 1024 * 1024,
        onMessages: (datagrams) => this.#receive(datagrams),
        onError: (error) => {
          if (error.code !== 'ENOBUFS') this.#report(KernelError.from('watch the network interfaces', error));
          this.#resync();
        },
      });
    } catch (error) {
      throw KernelError.from('watch the network interfaces', error);
    }
  }

  /** Id of our own namespace among those that have one; undefined: other namespaces cannot be seen. */
  get self(): number | undefined {
    return this.#self;
  }

  /** Reads the table; `added` is emitted for every link. Rejects with KernelError. */
  async start(): Promise<void> {
    try {
      // Events of ours bear an id too once we have one: so we have one from the beginning, and know it.
      if (this.#socket.allNamespaces) this.#self = await this.#rtnetlink.namespaceId({ pid: process.pid });
    } catch (error) {
      if (!hasCode(error, 'EPERM')) throw error;
    }
    await this.#readTable();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket.close();
  }

  get links(): Link[] {
    return [...this.#links.values()];
  }

  /** By index or name. */
  get(which: number | string): Link | undefined {
    return typeof which === 'number' ? this.#links.get(which) : this.#byName.get(which);
  }

  #receive(datagrams: NetlinkMessageIn[]): void {
    for (const { octets, portId, namespaceId } of datagrams) {
      if (portId !== 0) continue;
      const isForeign = namespaceId !== undefined && namespaceId !== this.#self;
      let events: LinkMessage[];
      let namespaces: NamespaceMessage[];
      try {
        const messages = decodeMessages(octets);
        events = messages.filter(isLinkMessage).map(decodeLink);
        namespaces = isForeign ? [] : messages.filter(isNamespaceMessage).map(decodeNamespace);
      } catch (error) {
        const reason = `an event cannot be read: ${(error as Error).message}`;
        this.#report(new KernelError('follow the network interfaces', 'EBADMSG', reason));
        this.#resync();
        continue;
      }
      for (const event of events) {
        if (this.#closed) return;
        if (isForeign) this.emit('foreign', namespaceId, event);
        else if (this.#held) this.#held.push(event);
        else this.#apply(event);
      }
      for (const namespace of namespaces) this.emit('namespace', namespace);
    }
  }

  #apply(event: LinkMessage): void {
    const known = this.#links.get(event.link.index);
    const next = after(known, event);
    if (next && !event.deleted && isDeepStrictEqual(known, next)) this.emit('unchanged', next);
    else if (next) this.#put(next);
    else if (known) this.#drop(known, movedTo(event));
  }

  #put(link: Link): void {
    const previous = this.#links.get(link.index);
    if (isDeepStrictEqual(previous, link)) return;
    this.#links.set(link.index, link);
    if (previous && this.#byName.get(previous.name) === previous) this.#byName.delete(previous.name);
    this.#byName.set(link.name, link);
    if (!previous) {
      this.emit('added', link);
      return;
    }
    if (previous.name !== link.name) this.emit('renamed', link, previous.name);
    this.emit('changed', link, previous);
  }

  #drop(link: Link, movedTo?: MovedTo): void {
    this.#links.delete(link.index);
    if (this.#byName.get(link.name) === link) this.#byName.delete(link.name);
    if (movedTo) this.emit('removed', link, movedTo);
    else this.emit('removed', link);
  }

  #resync(): void {
    if (this.#closed) return;
    this.#stale = true;
    if (this.#held) return;
    this.#held = [];
    this.#readTable().then(
      () => !this.#closed && this.emit('resynced'),
      (error) => {
        if (this.#closed) return;
        this.#report(error);
        this.#retry = setTimeout(() => this.#resync(), RETRY_AFTER);
      },
    );
  }

  /** Reads until no event was lost meanwhile, then emits the differences. */
  async #readTable(): Promise<void> {
    try {
      let table: Link[];
      do {
        this.#stale = false;
        this.#held = [];
        table = await this.#rtnetlink.links();
        await this.#drain();
      } while (this.#stale && !this.#closed);
      if (this.#closed) return;
      this.#adopt(table);
    } finally {
      this.#held = undefined;
    }
  }

  /**
   * The events of all that the table shows are in the socket by now. Lets them in first, so that none of them is applied
   * later and takes a link back to an older state for a moment. The first turn may be one whose polling was over already.
   */
  async #drain(): Promise<void> {
    await nextTurn();
    for (let turn = 0, before = -1; turn < MOST_TURNS && this.#held!.length !== before; turn++) {
      before = this.#held!.length;
      await nextTurn();
    }
  }

  /** Table and held events together, then the differences; with a removal, where the link went if an event told it. */
  #adopt(table: Link[]): void {
    const present = new Map(table.map((link) => [link.index, link]));
    const moves = new Map<number, MovedTo | undefined>();
    for (const event of this.#held ?? []) {
      const { index } = event.link;
      const next = after(present.get(index), event);
      if (next) present.set(index, next);
      else if (present.delete(index) || event.deleted) moves.set(index, movedTo(event));
    }
    this.#held = undefined;
    for (const link of this.links) if (!present.has(link.index)) this.#drop(link, moves.get(link.index));
    for (const link of present.values()) this.#put(link);
  }

  #report(error: KernelError): void {
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

function isLinkMessage({ type }: NetlinkMessage): boolean {
  return type === RTM_NEWLINK || type === RTM_DELLINK;
}

function isNamespaceMessage({ type }: NetlinkMessage): boolean {
  return type === RTM_NEWNSID || type === RTM_DELNSID;
}

/** The link after the event; undefined: it is not, or no longer, there. */
function after(known: Link | undefined, { deleted, family, link }: LinkMessage): Link | undefined {
  if (family === 'link') {
    if (deleted) return undefined;
    const isSamePort = known?.vids !== undefined && known.master === link.master;
    return isSamePort ? { ...link, vids: known.vids! } : link;
  }
  // A port's message lacks kind and mode. Its removal means "a port no longer"; the link's own message follows.
  return deleted || !known ? known : { ...known, ...link };
}

function movedTo({ newNamespaceId, newIndex }: LinkMessage): MovedTo | undefined {
  return newNamespaceId === undefined ? undefined : { namespaceId: newNamespaceId, index: newIndex ?? 0 };
}
