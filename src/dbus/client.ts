/** The client of org.evbd1, for evbctl and for hooks. */

import { EventEmitter } from 'node:events';

import {
  type ErrorName,
  EvbError,
  type Filter,
  type LinkStatus,
  type ProbeReport,
  type VsiRequest,
  type VsiStatus,
} from '../model.ts';
import { type Bus, BusError, type Call, CallError, Connection, DeadlineError } from './connection.ts';
import { BUS_NAME, ERROR_PREFIX, LINK, MANAGER, parsePath, ROOT, VSI } from './names.ts';
import { fromVsiRequest } from './vsi-dictionary.ts';
import { type Dictionary, type Envelope, type Value, Variant } from './wire.ts';

/** No bus, nobody who owns the name, or the connection is gone. One line. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** The daemon did not answer before the caller's own deadline. */
export class Timeout extends Error {
  override readonly name = 'Timeout';
}

/** This user may not do that. */
export class Denied extends Error {
  override readonly name = 'Denied';
}

export interface ClientEvents {
  vsiChanged: [id: string, state: string, reason: string];
  linkAdded: [link: LinkStatus];
  /** Only what changed. */
  linkUpdated: [name: string, changes: Partial<LinkStatus>];
  linkRemoved: [name: string];
  vsiAdded: [vsi: VsiStatus];
  /** Only what changed. */
  vsiUpdated: [vsi: { link: string; id: string }, changes: Partial<VsiStatus>];
  vsiRemoved: [vsi: { link: string; id: string }];
  /** A frame of a watched link; `time` in seconds since the epoch. */
  frame: [link: string, time: number, sent: boolean, octets: Uint8Array];
  /** The daemon left the bus (false) or came back (true). A daemon that comes back knows of no `watch`. */
  daemon: [present: boolean];
  /** The bus is gone; the client is of no more use. */
  closed: [reason: Unreachable];
}

/** The daemon's own deadline when a request names none, in milliseconds. */
const DEFAULT_REQUEST_TIMEOUT = 20_000;
/** What the daemon's answer may take longer than its deadline, in milliseconds. */
const GRACE = 5_000;
/** The system bus takes 128 calls in flight from one connection; further calls go over further connections. */
const CALLS_PER_CONNECTION = 100;
const MAX_CONNECTIONS = 16;
const OWNER_CHANGES = `type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${BUS_NAME}'`;

/**
 * Connects to a bus on which the daemon is. `timeout` in milliseconds, for connecting and for every call that does not
 * wait for the bridge. Rejects with Unreachable.
 */
export async function connect(bus: Bus, timeout = 10_000): Promise<Client> {
  const client = new Client(bus, timeout);
  await client.open();
  return client;
}

interface Lane {
  connection: Connection;
  inFlight: number;
}

export class Client extends EventEmitter<ClientEvents> {
  private readonly bus: Bus;
  private readonly timeout: number;
  /** The first also receives the signals. */
  private readonly lanes: Lane[] = [];
  private opening: Promise<void> | null = null;
  private maxLanes = MAX_CONNECTIONS;
  private readonly waiting: (() => void)[] = [];
  /** Unique name of the daemon, or empty. */
  private owner = '';
  private closed = false;

  /** Use `connect`, or `open` and in the end `close`. */
  constructor(bus: Bus, timeout: number) {
    super();
    this.bus = bus;
    this.timeout = timeout;
  }

  /** With `absent` a daemon that is not on the bus is told of and awaited, until it comes or `close`. */
  async open(absent?: (reason: Unreachable) => void): Promise<void> {
    const connection = await Connection.open(this.bus, this.timeout, {
      signal: (envelope: Envelope) => this.signal(envelope),
      lost: (reason: BusError) => {
        this.closed = true;
        this.emit('closed', new Unreachable(reason.message));
      },
    }).catch((error: unknown) => {
      throw this.explain(error, 'Hello');
    });
    this.lanes.push({ connection, inFlight: 0 });
    try {
      // Before the question: whoever comes behind the answer is heard of.
      if (absent !== undefined) await connection.callBus('AddMatch', 's', [OWNER_CHANGES], this.timeout);
      const [owner] = await connection.callBus('GetNameOwner', 's', [BUS_NAME], this.timeout);
      this.owner = owner as string;
    } catch (error) {
      const reason = this.explain(error, 'GetNameOwner');
      if (absent !== undefined && error instanceof CallError && reason instanceof Unreachable) {
        absent(reason);
        return this.arrival();
      }
      await this.close();
      throw reason;
    }
  }

  private arrival(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.once('daemon', () => resolve());
      this.once('closed', reject);
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.lanes.map(({ connection }) => connection.close()));
  }

  /** The object path of the VSI once the bridge has confirmed. */
  associate(link: string, request: VsiRequest): Promise<string> {
    return this.request('Associate', 'sa{sv}', [link, fromVsiRequest(request)], request);
  }

  /** As `associate`; `reserve`: with resources reserved. */
  preassociate(link: string, request: VsiRequest, reserve: boolean): Promise<string> {
    return this.request('PreAssociate', 'sa{sv}b', [link, fromVsiRequest(request), reserve], request);
  }

  /** `id`: a VSI's id, or LINK/ID. `timeout` in milliseconds. */
  async deassociate(id: string, timeout = DEFAULT_REQUEST_TIMEOUT + GRACE): Promise<void> {
    await this.manager('Deassociate', 's', [id], timeout);
  }

  async release(link: string, timeout = DEFAULT_REQUEST_TIMEOUT + GRACE): Promise<void> {
    await this.manager('Release', 's', [link], timeout);
  }

  async probe(link: string, timeout = DEFAULT_REQUEST_TIMEOUT + GRACE): Promise<ProbeReport> {
    const [report] = await this.manager('Probe', 's', [link], timeout);
    return plain(report!) as ProbeReport;
  }

  /** What changed, one line each. */
  async reload(timeout = DEFAULT_REQUEST_TIMEOUT + GRACE): Promise<string[]> {
    const [changes] = await this.manager('Reload', '', [], timeout);
    return changes as string[];
  }

  /** From now on `frame` is emitted for this link. */
  async watch(link: string): Promise<void> {
    await this.onFirst('Watch', link);
  }

  async unwatch(link: string): Promise<void> {
    await this.onFirst('Unwatch', link);
  }

  async version(): Promise<string> {
    const [version] = await this.properties('Get', ROOT, [MANAGER, 'Version']);
    return plain(version!) as string;
  }

  /** Process id of the daemon as the bus knows it, which may be in another PID namespace than we are. */
  async processId(): Promise<number> {
    const { connection } = this.lanes[0]!;
    try {
      const [pid] = await connection.callBus('GetConnectionUnixProcessID', 's', [this.owner], this.timeout);
      // It is put into paths and commands: not every bus is an honest one.
      if (!Number.isSafeInteger(pid) || (pid as number) <= 0) throw new Error('the bus tells no process id');
      return pid as number;
    } catch (error) {
      throw this.explain(error, 'GetConnectionUnixProcessID');
    }
  }

  async links(): Promise<LinkStatus[]> {
    return (await this.status()).links;
  }

  async vsis(): Promise<VsiStatus[]> {
    return (await this.status()).vsis;
  }

  /** Everything, as of one moment. */
  async status(): Promise<{ links: LinkStatus[]; vsis: VsiStatus[] }> {
    const [objects] = await this.call(
      {
        destination: BUS_NAME,
        path: ROOT,
        interface: 'org.freedesktop.DBus.ObjectManager',
        member: 'GetManagedObjects',
      },
      this.timeout,
    );
    const links: LinkStatus[] = [];
    const vsis: VsiStatus[] = [];
    for (const interfaces of Object.values(objects as Dictionary)) {
      const { [LINK]: link, [VSI]: vsi } = interfaces as Record<string, Dictionary | undefined>;
      if (link !== undefined) links.push(toLink(link) as LinkStatus);
      if (vsi !== undefined) vsis.push(toVsi(vsi) as VsiStatus);
    }
    return { links, vsis };
  }

  /** One VSI by the path that `associate` gave. */
  async vsi(path: string): Promise<VsiStatus> {
    const [properties] = await this.properties('GetAll', path, [VSI]);
    return toVsi(properties as Dictionary) as VsiStatus;
  }

  /** Emits what happens from now on, until `close`. */
  async subscribe(): Promise<void> {
    const { connection } = this.lanes[0]!;
    const rules = [`type='signal',sender='${BUS_NAME}',path_namespace='${ROOT}'`, OWNER_CHANGES];
    try {
      await Promise.all(rules.map((rule) => connection.callBus('AddMatch', 's', [rule], this.timeout)));
    } catch (error) {
      throw this.explain(error, 'AddMatch');
    }
  }

  private async request(
    member: string,
    signature: string,
    body: readonly Value[],
    { timeout = DEFAULT_REQUEST_TIMEOUT }: VsiRequest,
  ): Promise<string> {
    const [path] = await this.manager(member, signature, body, timeout + GRACE);
    return path as string;
  }

  private manager(
    member: string,
    signature: string,
    body: readonly Value[],
    timeout: number,
  ): Promise<Value[]> {
    return this.call(
      { destination: BUS_NAME, path: ROOT, interface: MANAGER, member, signature, body },
      timeout,
    );
  }

  /** Frames come to the connection that asked for them, and the first is the one that listens. */
  private async onFirst(member: string, link: string): Promise<void> {
    const call = {
      destination: BUS_NAME,
      path: ROOT,
      interface: MANAGER,
      member,
      signature: 's',
      body: [link],
    };
    try {
      await this.lanes[0]!.connection.call(call, this.timeout);
    } catch (error) {
      throw this.explain(error, member);
    }
  }

  private properties(member: 'Get' | 'GetAll', path: string, body: string[]): Promise<Value[]> {
    return this.call(
      {
        destination: BUS_NAME,
        path,
        interface: 'org.freedesktop.DBus.Properties',
        member,
        signature: 's'.repeat(body.length),
        body,
      },
      this.timeout,
    );
  }

  private async call(call: Call, timeout: number): Promise<Value[]> {
    const lane = await this.lane(call.member);
    try {
      return await lane.connection.call(call, timeout);
    } catch (error) {
      throw this.explain(error, call.member);
    } finally {
      lane.inFlight--;
      this.waiting.shift()?.();
    }
  }

  /** A connection that may take one more call; the call counts as in flight. */
  private async lane(member: string): Promise<Lane> {
    for (;;) {
      if (this.closed) throw new Unreachable(`${member}: the connection to the bus is closed`);
      const free = this.lanes.find((lane) => lane.inFlight < CALLS_PER_CONNECTION && lane.connection.isOpen);
      if (free !== undefined) {
        free.inFlight++;
        return free;
      }
      if (this.lanes.length < this.maxLanes) {
        this.opening ??= this.openLane();
        await this.opening;
      } else {
        await new Promise<void>((resolve) => this.waiting.push(resolve));
      }
    }
  }

  private async openLane(): Promise<void> {
    try {
      const connection = await Connection.open(this.bus, this.timeout);
      this.lanes.push({ connection, inFlight: 0 });
      if (this.closed) await connection.close();
    } catch {
      // The bus has its limits too; those that are open will do.
      this.maxLanes = this.lanes.length;
    } finally {
      this.opening = null;
    }
  }

  private explain(error: unknown, member: string): Error {
    if (error instanceof BusError) return new Unreachable(error.message);
    if (error instanceof DeadlineError) return new Timeout(error.message);
    if (!(error instanceof CallError)) return error as Error;
    const { errorName, message } = error;
    if (errorName.startsWith(ERROR_PREFIX)) {
      return new EvbError(errorName.slice(ERROR_PREFIX.length) as ErrorName, message);
    }
    switch (errorName) {
      case 'org.freedesktop.DBus.Error.ServiceUnknown':
      case 'org.freedesktop.DBus.Error.NameHasNoOwner':
        return new Unreachable(
          `evbd is not on the ${this.busName()}; start evbd (evbd --config FILE) or give its --bus`,
        );
      case 'org.freedesktop.DBus.Error.NoReply':
      case 'org.freedesktop.DBus.Error.Disconnected':
        return new Unreachable(`${member}: evbd left the ${this.busName()} before it answered`);
      case 'org.freedesktop.DBus.Error.AccessDenied':
        // The bus words its own refusals for those who wrote its policy.
        return new Denied(
          message.includes('group evbd')
            ? message
            : `${member} is for root and for members of group evbd; run as root, or usermod --append --groups evbd USER`,
        );
      default:
        return error;
    }
  }

  private busName(): string {
    return this.bus === 'system' || this.bus === 'session' ? `${this.bus} bus` : `bus ${this.bus}`;
  }

  private signal(envelope: Envelope): void {
    const { sender, member, path = '' } = envelope;
    if (sender === 'org.freedesktop.DBus' && member === 'NameOwnerChanged') {
      const [name, , owner] = envelope.readBody();
      if (name !== BUS_NAME) return;
      this.owner = owner as string;
      this.emit('daemon', owner !== '');
      return;
    }
    // Anybody may send a signal to us alone.
    if (sender !== this.owner) return;
    const args = envelope.readBody();
    switch (`${envelope.interface}.${member}`) {
      case `${MANAGER}.VsiChanged`:
        this.emit('vsiChanged', ...(args as ClientEvents['vsiChanged']));
        break;
      case `${MANAGER}.Frame`:
        this.emit('frame', ...(args as ClientEvents['frame']));
        break;
      case 'org.freedesktop.DBus.ObjectManager.InterfacesAdded': {
        const { [LINK]: link, [VSI]: vsi } = args[1] as Record<string, Dictionary | undefined>;
        if (link !== undefined) this.emit('linkAdded', toLink(link) as LinkStatus);
        if (vsi !== undefined) this.emit('vsiAdded', toVsi(vsi) as VsiStatus);
        break;
      }
      case 'org.freedesktop.DBus.ObjectManager.InterfacesRemoved': {
        const object = parsePath(args[0] as string);
        if (object?.kind === 'link') this.emit('linkRemoved', object.name);
        if (object?.kind === 'vsi') this.emit('vsiRemoved', { link: object.link, id: object.id });
        break;
      }
      case 'org.freedesktop.DBus.Properties.PropertiesChanged': {
        const object = parsePath(path);
        const changes = args[1] as Dictionary;
        if (object?.kind === 'link') this.emit('linkUpdated', object.name, toLink(changes));
        if (object?.kind === 'vsi')
          this.emit('vsiUpdated', { link: object.link, id: object.id }, toVsi(changes));
      }
    }
  }
}

/** Without variants, as plain objects. */
function plain(value: Value): unknown {
  if (value instanceof Variant) return plain(value.value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item as Value)]));
}

function toLink(properties: Dictionary): Partial<LinkStatus> {
  return fields(properties) as Partial<LinkStatus>;
}

function toVsi(properties: Dictionary): Partial<VsiStatus> {
  const vsi = fields(properties) as { link?: string; filters?: Filter[] };
  const link = vsi.link === undefined ? null : parsePath(vsi.link);
  if (link?.kind === 'link') vsi.link = link.name;
  return vsi as Partial<VsiStatus>;
}

/** The properties are the status's fields, written with a capital. */
function fields(properties: Dictionary): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(properties).map(([name, value]) => [name[0]!.toLowerCase() + name.slice(1), plain(value)]),
  );
}
