/**
 * One connection to a message bus. Where dbus-next's own connection would end the process (a body it cannot read, a
 * refused Hello) or wait forever (a bus that goes away), this one rejects what is pending and says that it closed.
 */

import { existsSync, realpathSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';

import {
  decodeMessage,
  EncodedBody,
  type Envelope,
  ERROR,
  encodeParts,
  METHOD_CALL,
  METHOD_RETURN,
  type Message,
  messageLength,
  SIGNAL,
  type Value,
} from './wire.ts';

/** `system`, `session`, or an address as in the D-Bus specification (`unix:path=…`). */
export type Bus = string;

/** The bus cannot be reached, or is gone: one line with the address, why, and what would mend it. */
export class BusError extends Error {
  override readonly name = 'BusError';
}

/** An error reply. `errorName` as on the bus, `message` as the other side worded it. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

/** No reply came in time. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

export interface Call {
  destination: string;
  path: string;
  interface: string;
  member: string;
  signature?: string;
  body?: readonly Value[];
}

export interface ConnectionEvents {
  /** A method call for us; it may come before `open` resolves. */
  call?(envelope: Envelope, connection: Connection): void;
  signal?(envelope: Envelope, connection: Connection): void;
  /** The connection has ended without `close()`. Once. */
  lost?(reason: BusError): void;
}

/** Octets that may wait for a bus that hangs, before it is given up. */
const MAX_BACKLOG = 64 * 1024 * 1024;

/** Milliseconds that messages which have come may take before the rest of the process gets its turn. */
const PORTION = 5;

const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
};

function systemBusAddress(): string {
  return process.env['DBUS_SYSTEM_BUS_ADDRESS'] || 'unix:path=/run/dbus/system_bus_socket';
}

/** Throws BusError when there is no session bus to be found. */
export function busAddress(bus: Bus): string {
  if (bus === 'system') return systemBusAddress();
  if (bus !== 'session') return bus;
  const address = process.env['DBUS_SESSION_BUS_ADDRESS'];
  if (address) return address;
  const path = `${process.env['XDG_RUNTIME_DIR'] ?? ''}/bus`;
  if (process.env['XDG_RUNTIME_DIR'] && existsSync(path)) return `unix:path=${path}`;
  throw new BusError(
    'there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor $XDG_RUNTIME_DIR/bus is there; use --bus system, or run under dbus-run-session',
  );
}

type Endpoint = { path: string } | { host: string; port: number };

/** Whether this is the machine's own bus, however it is spelled. */
export function isSystemBus(bus: Bus): boolean {
  if (bus === 'system') return true;
  const sockets = (address: string) =>
    endpoints(address).map((endpoint) => {
      if (!('path' in endpoint)) return `${endpoint.host}:${endpoint.port}`;
      try {
        return realpathSync(endpoint.path);
      } catch {
        return endpoint.path;
      }
    });
  const system = sockets(systemBusAddress());
  return sockets(busAddress(bus)).some((socket) => system.includes(socket));
}

/** The endpoints of an address list, in order. Throws BusError. */
function endpoints(address: string): Endpoint[] {
  const found: Endpoint[] = [];
  for (const entry of address.split(';').filter((part) => part !== '')) {
    const [transport, list = ''] = entry.split(/:(.*)/s, 2);
    const options: Record<string, string> = {};
    for (const pair of list.split(',')) {
      const [key, value = ''] = pair.split(/=(.*)/s, 2);
      try {
        options[key!] = decodeURIComponent(value);
      } catch {
        throw new BusError(`bus address "${address}": "${value}" is not escaped correctly`);
      }
    }
    if (transport === 'unix') {
      const { path, abstract, runtime } = options;
      if (path !== undefined) found.push({ path });
      else if (abstract !== undefined) found.push({ path: `\0${abstract}` });
      else if (runtime === 'yes') found.push({ path: `${process.env['XDG_RUNTIME_DIR'] ?? '/run'}/bus` });
    } else if (transport === 'tcp' && options['port'] !== undefined) {
      found.push({ host: options['host'] ?? 'localhost', port: Number(options['port']) });
    }
  }
  if (found.length === 0) {
    throw new BusError(
      `bus address "${address}" is none that evbd knows; give system, session, unix:path=PATH, unix:abstract=NAME or tcp:host=HOST,port=PORT`,
    );
  }
  return found;
}

function openSocket(endpoint: Endpoint, timeout: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket =
      'path' in endpoint ? connectSocket(endpoint.path) : connectSocket(endpoint.port, endpoint.host);
    socket.setTimeout(timeout, () => socket.destroy(new Error(`no connection within ${timeout} ms`)));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

function whyUnreachable(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return 'no socket is there; start the bus (systemctl start dbus) or give another --bus';
    case 'ECONNREFUSED':
      return 'nobody listens on it; start the bus (systemctl start dbus) or give another --bus';
    case 'EACCES':
      return 'permission denied; run as a user who may use this bus';
    default:
      return error.message;
  }
}

interface Pending {
  resolve(body: Value[]): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

export class Connection {
  /** The address that was asked for, resolved. */
  readonly address: string;
  /** The unique name that the bus gave, `:1.42`. */
  uniqueName = '';
  private readonly socket: Socket;
  private readonly events: ConnectionEvents;
  private readonly pending = new Map<number, Pending>();
  private serial = 0;
  private chunks: Buffer[] = [];
  private buffered = 0;
  private wanted = 16;
  /** Until the authentication is over, lines come. */
  private authenticated = false;
  /** More has come than was to be done in one go. */
  private resting = false;
  private ended: BusError | null = null;
  private closing = false;

  private constructor(address: string, socket: Socket, events: ConnectionEvents) {
    this.address = address;
    this.socket = socket;
    this.events = events;
    socket.on('data', (chunk: Buffer) => this.attempt(() => this.receive(chunk)));
    socket.on('error', (error: Error) => this.end(error.message));
    socket.on('close', () => this.end('the bus closed the connection'));
  }

  /** Connects, authenticates and says Hello. `timeout` in milliseconds. Rejects with BusError. */
  static async open(bus: Bus, timeout: number, events: ConnectionEvents = {}): Promise<Connection> {
    const address = busAddress(bus);
    let socket: Socket | undefined;
    let reason: unknown;
    for (const endpoint of endpoints(address)) {
      try {
        socket = await openSocket(endpoint, timeout);
        break;
      } catch (error) {
        reason = error;
      }
    }
    if (socket === undefined) {
      throw new BusError(`bus ${address}: ${whyUnreachable(reason as NodeJS.ErrnoException)}`);
    }
    const connection = new Connection(address, socket, events);
    // Without an identity the bus takes the socket's credentials, which stays right inside a user namespace. All of
    // it goes out at once, as sd-bus does; the bus answers in order.
    socket.write('\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n');
    try {
      const [name] = await connection.call({ ...BUS, member: 'Hello' }, timeout);
      connection.uniqueName = String(name);
      return connection;
    } catch (error) {
      connection.close();
      if (error instanceof BusError) throw error;
      if (error instanceof DeadlineError)
        throw new BusError(`bus ${address}: no answer within ${timeout} ms`);
      throw new BusError(`bus ${address}: it refused the connection: ${(error as Error).message}`);
    }
  }

  get isOpen(): boolean {
    return this.ended === null && !this.closing;
  }

  /** Octets that wait for the bus to take them. */
  get backlog(): number {
    return this.socket.writableLength;
  }

  /** Resolves when the bus has taken what was sent, or the connection is gone. */
  drained(): Promise<void> {
    const { socket } = this;
    if (!socket.writableNeedDrain || socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
  }

  /**
   * The reply's body. `timeout` in milliseconds. Rejects with CallError (an error reply), DeadlineError, BusError (the
   * connection is gone) or WireError (the arguments do not fit).
   */
  call(call: Call, timeout: number): Promise<Value[]> {
    return new Promise((resolve, reject) => {
      const serial = this.send({ type: METHOD_CALL, flags: 0, signature: '', body: [], ...call });
      const timer = setTimeout(() => {
        this.pending.delete(serial);
        reject(new DeadlineError(`${call.member}: no reply within ${timeout} ms`));
      }, timeout);
      this.pending.set(serial, { resolve, reject, timer });
    });
  }

  /** A call to the bus itself. */
  callBus(member: string, signature: string, body: readonly Value[], timeout: number): Promise<Value[]> {
    return this.call({ ...BUS, member, signature, body }, timeout);
  }

  /** Gives the serial. Throws WireError, and BusError when the connection is gone. */
  send(message: Omit<Message, 'serial'>): number {
    if (this.ended !== null) throw this.ended;
    if (this.closing) throw new BusError(`bus ${this.address}: the connection was closed`);
    const serial = this.nextSerial();
    const [header, body] = encodeParts({ ...message, serial });
    if (this.backlog > MAX_BACKLOG) {
      this.end('it takes no messages any more');
      throw this.ended ?? new BusError(`bus ${this.address}: it takes no messages any more`);
    }
    if (message.body instanceof EncodedBody) {
      // Together, but not copied: many messages may share this body while they wait.
      this.socket.cork();
      this.socket.write(header);
      this.socket.write(body);
      this.socket.uncork();
    } else {
      this.socket.write(body.length === 0 ? header : Buffer.concat([header, body]));
    }
    return serial;
  }

  /** Sends what is still queued and ends; what is pending is rejected. Resolves when the socket is gone. */
  close(): Promise<void> {
    if (this.socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.socket.once('close', () => resolve());
      if (this.closing) return;
      this.closing = true;
      this.rejectPending(new BusError(`bus ${this.address}: the connection was closed`));
      this.socket.end();
      // The bus answers an end with its own; one that hangs must not hold us.
      setTimeout(() => this.socket.destroy(), 1000).unref();
    });
  }

  private nextSerial(): number {
    do {
      this.serial = this.serial >= 0xffffffff ? 1 : this.serial + 1;
    } while (this.pending.has(this.serial));
    return this.serial;
  }

  private end(why: string): void {
    if (this.ended !== null) return;
    this.ended = new BusError(`bus ${this.address}: ${why}`);
    this.socket.destroy();
    this.rejectPending(this.ended);
    // Before Hello was answered, `open` itself rejects.
    if (!this.closing && this.uniqueName !== '') this.events.lost?.(this.ended);
  }

  private rejectPending(error: BusError): void {
    for (const { reject, timer } of this.pending.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.pending.clear();
  }

  private receive(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.buffered += chunk.length;
    while (!this.authenticated && this.authenticate());
    if (!this.resting) this.dispatchAll();
  }

  /** What has come; what is more than may be done in one go comes after everybody else's turn. */
  private dispatchAll(): void {
    const start = performance.now();
    while (this.authenticated && this.buffered >= this.wanted) {
      if (performance.now() - start > PORTION) {
        this.rest();
        return;
      }
      const buffer = this.joined();
      const length = messageLength(buffer);
      if (buffer.length < length) {
        this.wanted = length;
        return;
      }
      this.chunks = [buffer.subarray(length)];
      this.buffered -= length;
      this.wanted = 16;
      this.dispatch(buffer.subarray(0, length));
    }
  }

  private rest(): void {
    this.resting = true;
    this.socket.pause();
    setImmediate(() => {
      this.resting = false;
      this.attempt(() => this.dispatchAll());
      if (!this.resting) this.socket.resume();
    });
  }

  /** What cannot be a bus's doing ends the connection. */
  private attempt(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.end((error as Error).message);
    }
  }

  private joined(): Buffer {
    if (this.chunks.length > 1) this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0]!;
  }

  /** Takes one line of the authentication; false when there is none yet. */
  private authenticate(): boolean {
    const buffer = this.joined();
    const at = buffer.indexOf('\r\n');
    if (at < 0) {
      if (buffer.length > 16384) throw new Error('what answers is no message bus');
      return false;
    }
    const line = buffer.toString('latin1', 0, at);
    this.chunks = [buffer.subarray(at + 2)];
    this.buffered -= at + 2;
    if (line.startsWith('OK')) this.authenticated = true;
    else if (!line.startsWith('DATA')) throw new Error(`it does not accept this user (${line.slice(0, 80)})`);
    return true;
  }

  private dispatch(octets: Buffer): void {
    let envelope: Envelope;
    try {
      envelope = decodeMessage(octets);
    } catch {
      // The bus checks headers; what slips through has no sender to be told.
      return;
    }
    try {
      if (envelope.type === METHOD_RETURN || envelope.type === ERROR) this.settle(envelope);
      else if (envelope.type === METHOD_CALL) this.events.call?.(envelope, this);
      else if (envelope.type === SIGNAL) this.events.signal?.(envelope, this);
    } catch (error) {
      // A listener's fault is not the connection's: let it show without losing the messages behind this one.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  private settle(envelope: Envelope): void {
    const pending = this.pending.get(envelope.replySerial ?? 0);
    if (pending === undefined) return;
    this.pending.delete(envelope.replySerial ?? 0);
    clearTimeout(pending.timer);
    try {
      const body = envelope.readBody();
      const text = typeof body[0] === 'string' ? body[0] : '';
      if (envelope.type === METHOD_RETURN) pending.resolve(body);
      else pending.reject(new CallError(envelope.errorName ?? '', text));
    } catch (error) {
      pending.reject(
        new CallError('org.freedesktop.DBus.Error.InconsistentMessage', (error as Error).message),
      );
    }
  }
}
