import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  type BridgePortChange,
  decodeCompletion,
  decodeFdbEntry,
  decodeLink,
  decodeMessages,
  decodeNamespace,
  encodeDelFdbEntry,
  encodeDumpFdb,
  encodeGetFdbEntry,
  encodeGetLink,
  encodeGetNamespace,
  encodeMessage,
  encodeNewFdbEntry,
  encodeNewNamespace,
  encodeSetBridgePort,
  encodeSetMacvlanMode,
  type FdbEntry,
  type Link,
  type MacvlanMode,
  type NamespaceReference,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM_DELNEIGH,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETNSID,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNSID,
  RTM_SETLINK,
} from '../../protocols/rtnetlink/index.ts';
import { type NetlinkMessageIn, NetlinkSocket } from '../raw-socket/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';

/** So many answers fit the smallest receive buffer; a dump is paced by the kernel. */
const MOST_IN_FLIGHT = 64;
const DUMP_TRIES = 20;

interface Request {
  what: string;
  type: number;
  flags: number;
  payload: Uint8Array;
  /** Of the answers so far. */
  messages: NetlinkMessage[];
  interrupted: boolean;
  timer?: NodeJS.Timeout;
  done(): void;
  reject(error: KernelError): void;
}

/**
 * Requests to the kernel's rtnetlink, in this process's network namespace or another one. Methods reject with KernelError only.
 * Requests reach the kernel in the order of the calls; it carries each out before it takes the next.
 * The socket does not keep the process alive, a request under way does.
 */
export class Rtnetlink {
  readonly #socket: NetlinkSocket;
  readonly #deadline: number;
  readonly #waiting: Request[] = [];
  readonly #inFlight = new Map<number, Request>();
  #sequence = 0;
  #dumping = false;
  #closed = false;

  /**
   * `deadline`: milliseconds until a request without an answer fails with ETIMEDOUT; default 5000. `namespace`: open file
   * descriptor of the network namespace that it is about, EPERM without CAP_SYS_ADMIN; default ours. Throws KernelError.
   */
  constructor(options: { deadline?: number; namespace?: number } = {}) {
    const { deadline, ...where } = options;
    this.#deadline = deadline ?? 5000;
    try {
      this.#socket = new NetlinkSocket({
        ...where,
        onMessages: (datagrams) => this.#receive(datagrams),
        onError: (error) => this.#failAll((what) => KernelError.from(what, error)),
      });
    } catch (error) {
      throw KernelError.from('open a netlink socket', error);
    }
    this.#socket.unref();
  }

  /** Names the network namespace: no other one until the next boot. undefined: the kernel is older than 5.14. */
  get namespaceCookie(): string | undefined {
    return this.#socket.namespaceCookie?.toString(16);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#failAll((what) => new KernelError(what, 'ECANCELED', 'evbd is stopping'));
  }

  /**
   * All links, of our namespace or of one that has an id there; consistent, or EINTR when the table kept changing while it was
   * read. EINVAL: no namespace has that id.
   */
  links(namespaceId?: number): Promise<Link[]> {
    return this.#dump(
      'list the network interfaces',
      RTM_GETLINK,
      encodeGetLink(undefined, namespaceId),
      (message) => decodeLink(message).link,
    );
  }

  /** By index or name; undefined when there is none. */
  async link(which: number | string, namespaceId?: number): Promise<Link | undefined> {
    const what = `look up interface ${which}`;
    const payload = encodeGetLink(which, namespaceId);
    const links = await this.#unless('ENODEV', this.request(what, RTM_GETLINK, 0, payload, decodeLink));
    return links[0]?.link;
  }

  /** Ids of the network namespaces that have one in ours. */
  async namespaces(): Promise<number[]> {
    const what = 'list the network namespaces';
    const found = await this.#dump(what, RTM_GETNSID, encodeGetNamespace(), decodeNamespace);
    return found.flatMap(({ namespaceId }) => namespaceId ?? []);
  }

  /** The id of a namespace in ours; it is given one where it has none. */
  async namespaceId(which: NamespaceReference): Promise<number> {
    const what = 'look up a network namespace';
    const ask = async () =>
      (await this.request(what, RTM_GETNSID, 0, encodeGetNamespace(which), decodeNamespace))[0]?.namespaceId;
    const known = await ask();
    if (known !== undefined) return known;
    // Somebody else may be faster.
    const given = this.request('name a network namespace', RTM_NEWNSID, 0, encodeNewNamespace(which));
    await this.#unless('EEXIST', given);
    const id = await ask();
    if (id === undefined) throw new KernelError(what, 'ENOENT', 'it has no id');
    return id;
  }

  /** ENODEV: no such link; EOPNOTSUPP: it is in no bridge. Kernels ignore a flag that they do not know. */
  async setBridgePort(
    index: number,
    change: BridgePortChange,
    what = `set up bridge port ${index}`,
  ): Promise<void> {
    await this.request(what, RTM_SETLINK, 0, encodeSetBridgePort(index, change));
  }

  async setMacvlanMode(link: Link, mode: MacvlanMode): Promise<void> {
    const what = `set ${link.name} to macvlan mode ${mode}`;
    if (link.kind !== 'macvlan' && link.kind !== 'macvtap') {
      throw new KernelError(what, 'EOPNOTSUPP', 'it is neither a macvlan nor a macvtap');
    }
    await this.request(what, RTM_NEWLINK, 0, encodeSetMacvlanMode(link.index, link.kind, mode));
  }

  /** The bridge's entries for one port, without the device's own filter (`self`). */
  async fdb(port: number): Promise<FdbEntry[]> {
    const entries = await this.#dump(
      `list the FDB of port ${port}`,
      RTM_GETNEIGH,
      encodeDumpFdb(port),
      decodeFdbEntry,
    );
    return entries.filter((entry) => entry !== undefined && !entry.self && entry.port === port) as FdbEntry[];
  }

  /** The entry of an address in the bridge of this port, at whichever of its ports; undefined when there is none. */
  async fdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<FdbEntry | undefined> {
    const payload = encodeGetFdbEntry(port, mac, vlan);
    const found = this.request(`look up FDB entry ${mac}`, RTM_GETNEIGH, 0, payload, decodeFdbEntry);
    return (await this.#unless('ENOENT', found))[0];
  }

  /** A static entry, in place of whatever entry the address has. */
  async replaceFdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<void> {
    const what = `enter ${mac} into the FDB of port ${port}`;
    await this.request(what, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, encodeNewFdbEntry(port, mac, vlan));
  }

  /** ENOENT: there is none at this port. */
  async deleteFdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<void> {
    const what = `delete ${mac} from the FDB of port ${port}`;
    await this.request(what, RTM_DELNEIGH, 0, encodeDelFdbEntry(port, mac, vlan));
  }

  /**
   * Any request that is no dump; resolves with what the kernel sent before its acknowledgement, as `decode` reads it.
   * `what` completes "cannot ...".
   */
  async request<T = NetlinkMessage>(
    what: string,
    type: number,
    flags: number,
    payload: Uint8Array,
    decode: (message: NetlinkMessage) => T = (message) => message as T,
  ): Promise<T[]> {
    return decodeAll(await this.#submit(what, type, flags | NLM_F_ACK, payload), decode);
  }

  async #dump<T>(
    what: string,
    type: number,
    payload: Uint8Array,
    decode: (message: NetlinkMessage) => T,
  ): Promise<T[]> {
    for (let tries = 0; tries < DUMP_TRIES; tries++) {
      const request = await this.#submit(what, type, NLM_F_DUMP, payload);
      if (!request.interrupted) return decodeAll(request, decode);
    }
    throw new KernelError(what, 'EINTR', `they changed while they were read, ${DUMP_TRIES} times in a row`);
  }

  async #unless<T>(code: string, answers: Promise<T[]>): Promise<T[]> {
    try {
      return await answers;
    } catch (error) {
      if (hasCode(error, code)) return [];
      throw error;
    }
  }

  #submit(what: string, type: number, flags: number, payload: Uint8Array): Promise<Request> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new KernelError(what, 'ECANCELED', 'evbd is stopping'));
      const request: Request = {
        what,
        type,
        flags: flags | NLM_F_REQUEST,
        payload,
        messages: [],
        interrupted: false,
        done: () => resolve(request),
        reject,
      };
      this.#waiting.push(request);
      this.#sendWaiting();
    });
  }

  /** In order; a dump goes alone, for the kernel takes only one at a time. */
  #sendWaiting(): void {
    const isDump = (request: Request) => (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    while (this.#waiting.length > 0 && this.#inFlight.size < MOST_IN_FLIGHT && !this.#dumping) {
      if (isDump(this.#waiting[0]!) && this.#inFlight.size > 0) return;
      const request = this.#waiting.shift()!;
      this.#dumping = isDump(request);
      this.#send(request);
    }
  }

  #send(request: Request): void {
    this.#sequence = (this.#sequence + 1) >>> 0 || 1;
    const sequence = this.#sequence;
    this.#inFlight.set(sequence, request);
    request.timer = setTimeout(() => {
      this.#settle(sequence);
      request.reject(
        new KernelError(request.what, 'ETIMEDOUT', `no answer from the kernel for ${this.#deadline} ms`),
      );
      this.#sendWaiting();
    }, this.#deadline);
    const { type, flags, payload } = request;
    try {
      this.#socket.send(encodeMessage({ type, flags, sequence, portId: 0 }, payload));
    } catch (error) {
      this.#settle(sequence)?.reject(KernelError.from(request.what, error));
    }
  }

  #receive(datagrams: NetlinkMessageIn[]): void {
    for (const { octets, portId } of datagrams) {
      // Only the kernel answers; another process may send to our port id too.
      if (portId !== 0) continue;
      try {
        for (const message of decodeMessages(octets)) this.#answer(message);
      } catch (error) {
        this.#failAll((what) => unreadable(what, error));
      }
    }
    this.#sendWaiting();
  }

  #answer(message: NetlinkMessage): void {
    const request = this.#inFlight.get(message.sequence);
    // An answer to a request that was given up.
    if (!request) return;
    if ((message.flags & NLM_F_DUMP_INTR) !== 0) request.interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      request.messages.push(message);
      return;
    }
    const { errno, text } = decodeCompletion(message);
    this.#settle(message.sequence);
    if (errno === 0) request.done();
    else request.reject(KernelError.fromErrno(request.what, errno, text));
  }

  #settle(sequence: number): Request | undefined {
    const request = this.#inFlight.get(sequence);
    this.#inFlight.delete(sequence);
    clearTimeout(request?.timer);
    if (this.#inFlight.size === 0) this.#dumping = false;
    return request;
  }

  /** Those in flight: their answers are lost. The others go on, unless the socket is closed. */
  #failAll(error: (what: string) => KernelError): void {
    const lost = [...this.#inFlight.keys()].map((sequence) => this.#settle(sequence)!);
    if (this.#closed) lost.push(...this.#waiting.splice(0));
    for (const request of lost) request.reject(error(request.what));
    this.#sendWaiting();
  }
}

function decodeAll<T>(request: Request, decode: (message: NetlinkMessage) => T): T[] {
  try {
    return request.messages.map(decode);
  } catch (error) {
    throw unreadable(request.what, error);
  }
}

function unreadable(what: string, error: unknown): KernelError {
  return new KernelError(what, 'EBADMSG', `the kernel's answer cannot be read: ${(error as Error).message}`);
}
