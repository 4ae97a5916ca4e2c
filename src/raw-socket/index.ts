/**
 * Raw sockets: Ethernet frames (AF_PACKET), netlink datagrams (AF_NETLINK) and single AF_UNIX datagrams, over the
 * Node-API addon beside this file (raw_socket.c, built by `npm run build:addon`).
 *
 * An open socket stays alive, and keeps the event loop alive unless `unref()` says otherwise, until `close()`. After
 * `close()` no callback is called any more. What a callback throws becomes an ordinary `uncaughtException`; the socket
 * goes on.
 *
 * The octets of one callback's messages are views into one allocation: keep one message for long and it keeps its
 * batch (32 messages at most); copy what is to be kept.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';

/** A failed system call. `code` is the errno name, `syscall` the call and, for setsockopt, the option. */
export interface SocketError extends Error {
  code: string;
  syscall: string;
  /** Negative, as in Node's own errors. */
  errno: number;
}

/** One instruction of classic BPF, `struct sock_filter` of linux/filter.h. */
export interface BpfInstruction {
  code: number;
  jt: number;
  jf: number;
  k: number;
}

export interface ReceivedFrame {
  /** From the destination address on, without FCS and without the tag that the kernel or the card stripped. */
  octets: Uint8Array;
  /** Priority, DEI and VID of the stripped tag, and its Ethertype; absent when no tag was stripped. */
  vlanTci?: number;
  vlanTpid?: number;
}

export interface PacketSocketOptions {
  interfaceIndex: number;
  /** In force before the first frame; absent: every frame. */
  filter?: readonly BpfInstruction[];
  /** Addresses of 6 octets, of groups or of others, that the interface shall receive while the socket is open. */
  memberships?: readonly Uint8Array[];
  /** Octets; default 4 MiB. Beyond net.core.rmem_max only with CAP_NET_ADMIN outside of a user namespace. */
  receiveBuffer?: number;
  /** Frames in order of reception, at most 32. */
  onFrames(frames: ReceivedFrame[]): void;
  /**
   * An error of the reception, after the frames that arrived before it. ENETDOWN: the link went down or away, or was
   * down when the socket was opened; reception resumes by itself when the link comes up (a deleted one does not).
   * EMSGSIZE: frames longer than 264 KiB were left out. An error that `send` throws is not reported here again.
   */
  onError(error: SocketError): void;
}

export interface NetlinkMessageIn {
  /** One datagram: one or several netlink messages. */
  octets: Uint8Array;
  /** The sender; 0 is the kernel. */
  portId: number;
  /** Of the namespace it comes from, when that is another one and has an id here (`listenAllNamespaces`). */
  namespaceId?: number;
}

export interface NetlinkSocketOptions {
  /** Default 0, NETLINK_ROUTE. */
  protocol?: number;
  /** Default 0: the kernel chooses, for the first socket of a process the process id. */
  portId?: number;
  /** Numbers of multicast groups (RTNLGRP_*), not a mask. */
  groups?: readonly number[];
  /** Needs CAP_NET_BROADCAST; whether it was granted says `allNamespaces`. */
  listenAllNamespaces?: boolean;
  /** Octets; default 4 MiB, as for packets. */
  receiveBuffer?: number;
  /**
   * Open file descriptor of the network namespace that the socket shall be in; absent: ours. It may be closed afterwards.
   * Needs CAP_SYS_ADMIN, in the user namespace of that one and in ours: else EPERM of `setns`.
   */
  namespace?: number;
  /** Datagrams in order of reception, at most 32. */
  onMessages(messages: NetlinkMessageIn[]): void;
  /**
   * An error of the reception, after the messages that arrived before it. ENOBUFS: messages were lost, dump again.
   * EMSGSIZE: datagrams longer than 264 KiB were left out.
   */
  onError(error: SocketError): void;
}

interface NativeSocket {
  readonly receiveBuffer: number;
  close(): void;
  setReferenced(referenced: boolean): void;
}

interface NativePacketSocket extends NativeSocket {
  send(frames: Uint8Array[]): number;
  statistics(): { packets: number; drops: number };
}

interface NativeNetlinkSocket extends NativeSocket {
  readonly portId: number;
  readonly allNamespaces: boolean;
  readonly namespaceCookie?: bigint;
  send(octets: Uint8Array, portId: number, groups: number): void;
}

type OnBatch = (count: number, batch: ArrayBuffer) => void;
type OnError = (error: SocketError) => void;

interface Addon {
  PacketSocket: new (
    interfaceIndex: number,
    filter: Uint8Array,
    memberships: Uint8Array,
    receiveBuffer: number,
    onBatch: OnBatch,
    onError: OnError,
  ) => NativePacketSocket;
  NetlinkSocket: new (
    protocol: number,
    portId: number,
    groups: Uint32Array,
    listenAllNamespaces: boolean,
    receiveBuffer: number,
    onBatch: OnBatch,
    onError: OnError,
    namespace: number,
  ) => NativeNetlinkSocket;
  sendDatagram(path: Uint8Array, octets: Uint8Array): void;
}

const addon = loadAddon();
const DEFAULT_RECEIVE_BUFFER = 4 * 1024 * 1024;
const INT32_MAX = 0x7fffffff;
const UINT32_MAX = 0xffffffff;

/** Frames in and out of one interface. Throws TypeError for unsuitable options, SocketError for a failed call. */
export class PacketSocket {
  /** What the kernel granted, octets, on the scale of the option. */
  readonly receiveBuffer: number;
  readonly #native: NativePacketSocket;
  readonly #totals = { packets: 0, drops: 0 };
  #open = true;

  constructor(options: PacketSocketOptions) {
    const { onFrames, onError } = options;
    this.#native = new addon.PacketSocket(
      integer('interfaceIndex', options.interfaceIndex, 1, INT32_MAX),
      packFilter(options.filter),
      packMemberships(options.memberships ?? []),
      integer('receiveBuffer', options.receiveBuffer ?? DEFAULT_RECEIVE_BUFFER, 0, INT32_MAX),
      callback('onFrames', (count, batch) => onFrames(readBatch(count, batch, frameOf)), onFrames),
      callback('onError', (error) => onError(error), onError),
    );
    this.receiveBuffer = this.#native.receiveBuffer;
  }

  /**
   * Sends complete frames (the header too, no FCS) in order and returns how many the kernel took: fewer when a queue
   * is full (EAGAIN, ENOBUFS) or when the next one fails. Throws SocketError when the first frame fails for another
   * reason, so calling again with the rest tells which. Nothing tells when a full queue has room: try again later.
   */
  send(frames: readonly Uint8Array[]): number {
    return this.#native.send([...frames]);
  }

  /** Since the socket was opened: frames that passed the filter, and those of them lost for want of buffer. */
  statistics(): { packets: number; drops: number } {
    if (this.#open) {
      const { packets, drops } = this.#native.statistics();
      this.#totals.packets += packets;
      this.#totals.drops += drops;
    }
    return { ...this.#totals };
  }

  /** Lets the process end although the socket is open. */
  unref(): this {
    this.#native.setReferenced(false);
    return this;
  }

  /** Undoes `unref`. */
  ref(): this {
    this.#native.setReferenced(true);
    return this;
  }

  /** May be called again, and in a callback. Takes about 10 ms: the kernel waits until no processor uses the socket. */
  close(): void {
    this.statistics();
    this.#open = false;
    this.#native.close();
  }
}

/** Netlink datagrams. Throws TypeError for unsuitable options, SocketError for a failed call. */
export class NetlinkSocket {
  readonly portId: number;
  /** Whether messages from all namespaces with an id in this one arrive. */
  readonly allNamespaces: boolean;
  /** Of the socket's network namespace: no other one has it until the next boot. Absent before Linux 5.14. */
  readonly namespaceCookie?: bigint;
  /** What the kernel granted, octets, on the scale of the option. */
  readonly receiveBuffer: number;
  readonly #native: NativeNetlinkSocket;

  constructor(options: NetlinkSocketOptions) {
    const { onMessages, onError } = options;
    this.#native = new addon.NetlinkSocket(
      integer('protocol', options.protocol ?? 0, 0, INT32_MAX),
      integer('portId', options.portId ?? 0, 0, UINT32_MAX),
      Uint32Array.from(array('groups', options.groups ?? []), (group) =>
        integer('group', group, 1, UINT32_MAX),
      ),
      boolean('listenAllNamespaces', options.listenAllNamespaces ?? false),
      integer('receiveBuffer', options.receiveBuffer ?? DEFAULT_RECEIVE_BUFFER, 0, INT32_MAX),
      callback('onMessages', (count, batch) => onMessages(readBatch(count, batch, messageOf)), onMessages),
      callback('onError', (error) => onError(error), onError),
      options.namespace === undefined ? -1 : integer('namespace', options.namespace, 0, INT32_MAX),
    );
    this.portId = this.#native.portId;
    this.allNamespaces = this.#native.allNamespaces;
    const { namespaceCookie } = this.#native;
    if (namespaceCookie !== undefined) this.namespaceCookie = namespaceCookie;
    this.receiveBuffer = this.#native.receiveBuffer;
  }

  /**
   * Sends one datagram, to the kernel unless `to` names a port id or a mask of groups (bit 0 is group 1). Throws
   * SocketError; EAGAIN: the receiver's buffer is full, ECONNREFUSED: nobody has that port id.
   */
  send(octets: Uint8Array, to: { portId?: number; groups?: number } = {}): void {
    const portId = integer('portId', to.portId ?? 0, 0, UINT32_MAX);
    const groups = integer('groups', to.groups ?? 0, 0, UINT32_MAX);
    this.#native.send(octets, portId, groups);
  }

  /** Lets the process end although the socket is open. */
  unref(): this {
    this.#native.setReferenced(false);
    return this;
  }

  /** Undoes `unref`. */
  ref(): this {
    this.#native.setReferenced(true);
    return this;
  }

  /** May be called again, and in a callback. */
  close(): void {
    this.#native.close();
  }
}

/**
 * Sends one AF_UNIX datagram, as sd_notify does. A leading '@' means an abstract address. Throws SocketError (EAGAIN
 * when the receiver's queue is full; it never waits).
 */
export function sendDatagram(path: string, octets: Uint8Array): void {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new TypeError('path: expected a non-empty string without NUL');
  }
  const address = new TextEncoder().encode(path.startsWith('@') ? `\0${path.slice(1)}` : path);
  addon.sendDatagram(address, octets);
}

function loadAddon(): Addon {
  let root = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(root, 'package.json')) && root !== dirname(root)) root = dirname(root);
  const file = join(root, 'src/raw-socket/build/Release/raw_socket.node');
  if (!existsSync(file)) throw new Error(`raw socket addon is missing (${file}): run \`npm run build\``);
  return createRequire(import.meta.url)(file) as Addon;
}

/** A batch of raw_socket.c: headings of three words (length, detail, origin), then the octets of every message. */
function readBatch<T>(
  count: number,
  batch: ArrayBuffer,
  messageFrom: (octets: Uint8Array, detail: number, origin: number) => T,
): T[] {
  const headings = new Int32Array(batch, 0, count * 3);
  const messages: T[] = [];
  let offset = headings.byteLength;
  for (let at = 0; at < headings.length; at += 3) {
    const length = headings[at]!;
    messages.push(messageFrom(new Uint8Array(batch, offset, length), headings[at + 1]!, headings[at + 2]!));
    offset += length;
  }
  return messages;
}

function frameOf(octets: Uint8Array, vlanTci: number, vlanTpid: number): ReceivedFrame {
  return vlanTpid < 0 ? { octets } : { octets, vlanTci, vlanTpid };
}

function messageOf(octets: Uint8Array, portId: number, namespaceId: number): NetlinkMessageIn {
  return namespaceId < 0 ? { octets, portId: portId >>> 0 } : { octets, portId: portId >>> 0, namespaceId };
}

/** `struct sock_filter` in the machine's byte order; empty for no filter. */
function packFilter(filter: readonly BpfInstruction[] | undefined): Uint8Array {
  if (filter === undefined) return new Uint8Array(0);
  integer('filter.length', array('filter', filter).length, 1, 4096);
  const octets = new Uint8Array(filter.length * 8);
  const halves = new Uint16Array(octets.buffer);
  const words = new Uint32Array(octets.buffer);
  for (const [i, { code, jt, jf, k }] of filter.entries()) {
    halves[i * 4] = integer('code', code, 0, 0xffff);
    octets[i * 8 + 2] = integer('jt', jt, 0, 0xff);
    octets[i * 8 + 3] = integer('jf', jf, 0, 0xff);
    words[i * 2 + 1] = integer('k', k, 0, UINT32_MAX);
  }
  return octets;
}

function packMemberships(addresses: readonly Uint8Array[]): Uint8Array {
  const octets = new Uint8Array(array('memberships', addresses).length * 6);
  for (const [i, address] of addresses.entries()) {
    if (!types.isUint8Array(address) || address.length !== 6) {
      throw new TypeError('memberships: expected addresses of 6 octets');
    }
    octets.set(address, i * 6);
  }
  return octets;
}

function integer(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new TypeError(`${name}: expected an integer from ${min} to ${max}`);
}

function array<T>(name: string, value: readonly T[]): readonly T[] {
  if (Array.isArray(value)) return value;
  throw new TypeError(`${name}: expected an array`);
}

function boolean(name: string, value: boolean): boolean {
  if (typeof value === 'boolean') return value;
  throw new TypeError(`${name}: expected a boolean`);
}

/** `wrapped`, if the callback it calls is one. */
function callback<T>(name: string, wrapped: T, given: unknown): T {
  if (typeof given === 'function') return wrapped;
  throw new TypeError(`${name}: expected a function`);
}
