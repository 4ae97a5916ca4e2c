/** The daemon on a message bus: org.evbd1 with its Manager, Links and VSIs, as the contract names them. */

import type { Daemon, DaemonEvents, LinkStatus, ProbeReport, SlaveStatus, VsiStatus } from '../model.ts';
import { EvbError } from '../model.ts';
import { Access } from './access.ts';
import { type Bus, BusError, CallError, Connection, isSystemBus } from './connection.ts';
import { inFull } from './in-full.ts';
import { BUS_NAME, ERROR_PREFIX, LINK, linkPath, MANAGER, ROOT, VSI, vsiPath } from './names.ts';
import {
  type Interface,
  type Log,
  ObjectServer,
  type Property,
  processTimers,
  type Timers,
} from './object-server.ts';
import { fromFilter, toVsiRequest } from './vsi-dictionary.ts';
import { type Dictionary, type Envelope, type Value, Variant } from './wire.ts';

export interface ServiceOptions {
  daemon: Daemon;
  bus: Bus;
  log: Log;
  /**
   * Whether the owner of a unique name may use Associate, PreAssociate, Deassociate, Release, Probe, Reload and Watch.
   * Default: on the system bus user 0 and the members of group evbd, elsewhere whoever the bus lets through.
   */
  isAllowed?(sender: string, member: string): boolean | Promise<boolean>;
  timers?: Timers;
}

export interface Service {
  /** Gives the name back and leaves the bus; the daemon goes on. */
  close(): Promise<void>;
}

/** Milliseconds for the bus itself to answer. */
const BUS_DEADLINE = 10_000;
const MAX_WATCHERS = 256;
/** Octets; frames are dropped rather than piled up when the bus does not take them. */
const MAX_FRAME_BACKLOG = 4 * 1024 * 1024;
const MIN_BACKOFF = 100;
const MAX_BACKOFF = 10_000;

/**
 * Exports the daemon. Rejects with BusError when the bus cannot be reached or the name cannot be had. A bus that is lost
 * later is reported to `log` and tried again until `close`.
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  const service = new BusService(options);
  await service.start();
  return service;
}

class BusService implements Service {
  private readonly daemon: Daemon;
  private readonly bus: Bus;
  private readonly log: Log;
  private readonly timers: Timers;
  private readonly server: ObjectServer;
  private connection: Connection | null = null;
  private closed = false;
  private retry: unknown = null;
  private readonly links = new Map<string, LinkStatus>();
  private readonly vsis = new Map<string, VsiStatus>();
  /** The links that each unique name watches. */
  private readonly watchers = new Map<string, Set<string>>();
  /** Frames left out since the bus fell behind. */
  private dropped = 0;
  /** `daemon.links()` of this turn of the event loop, for properties that are read afresh. */
  private fresh: Map<string, LinkStatus> | null = null;
  private readonly vsiInterface = this.makeVsiInterface();
  private readonly listeners: DaemonEvents;

  constructor(options: ServiceOptions) {
    this.daemon = options.daemon;
    this.bus = options.bus;
    this.log = options.log;
    this.timers = options.timers ?? processTimers;
    const { isAllowed } = options;
    const access = isAllowed === undefined && isSystemBus(this.bus) ? new Access() : null;
    this.server = new ObjectServer({
      root: ROOT,
      log: this.log,
      timers: this.timers,
      authorize: async (sender, member, connection) => {
        const allowed =
          isAllowed !== undefined
            ? await isAllowed(sender, member)
            : access === null || (await access.isAllowed(sender, connection));
        if (!allowed) {
          const text = `${member} is for root and for members of group evbd; run as root, or usermod --append --groups evbd USER`;
          throw new CallError('org.freedesktop.DBus.Error.AccessDenied', text);
        }
      },
    });
    this.listeners = {
      linkAdded: (link) => this.guard(() => this.putLink(link)),
      linkChanged: (link) => this.guard(() => this.putLink(link)),
      linkRemoved: (name) => this.guard(() => this.removeLink(name)),
      vsiAdded: (vsi) => this.guard(() => this.putVsi(vsi)),
      vsiChanged: (vsi) => this.guard(() => this.putVsi(vsi)),
      vsiRemoved: (vsi) => this.guard(() => this.removeVsi(vsi)),
      frame: (link, time, sent, octets) => this.guard(() => this.frame(link, time, sent, octets)),
    };
  }

  async start(): Promise<void> {
    // Listening first: nothing that happens while the bus is being reached is missed.
    for (const [event, listener] of Object.entries(this.listeners)) {
      this.daemon.on(event as keyof DaemonEvents, listener);
    }
    this.server.add(ROOT, [this.managerInterface()]);
    for (const link of this.daemon.links()) this.putLink(link);
    for (const vsi of this.daemon.vsis()) this.putVsi(vsi);
    try {
      await this.connect();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const [event, listener] of Object.entries(this.listeners)) {
      this.daemon.off(event as keyof DaemonEvents, listener);
    }
    this.timers.clearTimeout(this.retry);
    this.server.close();
    const { connection } = this;
    this.connection = null;
    if (connection === null) return;
    await connection.callBus('ReleaseName', 's', [BUS_NAME], BUS_DEADLINE).catch(() => {});
    await connection.close();
  }

  private async connect(): Promise<void> {
    let established = false;
    const connection = await Connection.open(this.bus, BUS_DEADLINE, {
      call: (envelope, from) => this.server.handle(envelope, from),
      signal: (envelope) => this.guard(() => this.signal(envelope)),
      lost: (reason) => {
        if (established) this.lost(reason);
      },
    });
    try {
      // Attached first: who sees the name appear may call at once.
      this.connection = connection;
      this.server.attach(connection);
      await this.acquireName(connection);
      if (!connection.isOpen) throw new BusError(`bus ${connection.address}: it closed the connection`);
      established = true;
    } catch (error) {
      this.connection = null;
      this.server.attach(null);
      await connection.close();
      throw error;
    }
  }

  private async acquireName(connection: Connection): Promise<void> {
    const DO_NOT_QUEUE = 4;
    const EXISTS = 3;
    let reply: Value | undefined;
    try {
      [reply] = await connection.callBus('RequestName', 'su', [BUS_NAME, DO_NOT_QUEUE], BUS_DEADLINE);
    } catch (error) {
      if (error instanceof BusError) throw error;
      const mend = 'run evbd as root or user evbd, with systemd/org.evbd1.conf in /usr/share/dbus-1/system.d';
      throw new BusError(
        `bus ${connection.address}: the name ${BUS_NAME} was refused (${(error as Error).message.split('\n')[0]}); ${mend}`,
      );
    }
    if (reply === EXISTS) {
      const by = await this.ownerPid(connection);
      throw new BusError(
        `bus ${connection.address}: ${by} owns ${BUS_NAME} already; stop it, or give another bus with --bus`,
      );
    }
  }

  private async ownerPid(connection: Connection): Promise<string> {
    try {
      const [pid] = await connection.callBus('GetConnectionUnixProcessID', 's', [BUS_NAME], BUS_DEADLINE);
      return `process ${pid}`;
    } catch {
      return 'another process';
    }
  }

  private lost(reason: BusError): void {
    if (this.closed) return;
    this.connection = null;
    this.server.attach(null);
    this.watchers.clear();
    this.log.warn(`${reason.message}; evbd goes on without it and tries again`);
    this.reconnectIn(MIN_BACKOFF, '');
  }

  private reconnectIn(milliseconds: number, lastReason: string): void {
    this.retry = this.timers.setTimeout(async () => {
      try {
        await this.connect();
        if (this.closed) {
          await this.connection?.close();
          return;
        }
        this.log.info(`bus ${this.connection?.address}: back, ${BUS_NAME} is served again`);
      } catch (error) {
        if (this.closed) return;
        const reason = (error as Error).message;
        if (reason !== lastReason) this.log.warn(`${reason}; evbd tries again`);
        this.reconnectIn(Math.min(milliseconds * 2, MAX_BACKOFF), reason);
      }
    }, milliseconds);
  }

  /** What goes wrong here must not reach the daemon's own event. */
  private guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.log.error(`D-Bus adapter: ${inFull(error)}`);
    }
  }

  // Objects

  private putLink(link: LinkStatus): void {
    this.fresh = null;
    const path = linkPath(link.name);
    const isNew = !this.links.has(link.name);
    this.links.set(link.name, link);
    if (isNew) this.server.add(path, [this.linkInterface(link.name)]);
    else this.server.changed(path);
  }

  private removeLink(name: string): void {
    if (!this.links.delete(name)) return;
    this.server.remove(linkPath(name));
    for (const links of this.watchers.values()) links.delete(name);
  }

  private putVsi(vsi: VsiStatus): void {
    const path = vsiPath(vsi.link, vsi.id);
    const before = this.vsis.get(path);
    this.vsis.set(path, vsi);
    if (before === undefined) this.server.add(path, [this.vsiInterface]);
    else this.server.changed(path);
    if (before?.state !== vsi.state || before.reason !== vsi.reason) this.emitVsiChanged(vsi);
  }

  private removeVsi(vsi: VsiStatus): void {
    const path = vsiPath(vsi.link, vsi.id);
    const before = this.vsis.get(path);
    if (before === undefined) return;
    if (before.state !== vsi.state || before.reason !== vsi.reason) this.emitVsiChanged(vsi);
    this.vsis.delete(path);
    this.server.remove(path);
  }

  private emitVsiChanged(vsi: VsiStatus): void {
    const about = vsiPath(vsi.link, vsi.id);
    this.server.emit(ROOT, MANAGER, 'VsiChanged', [vsi.id, vsi.state, vsi.reason], { about });
  }

  private readLink(name: string): LinkStatus {
    if (this.fresh === null) {
      this.fresh = new Map(this.daemon.links().map((link) => [link.name, link]));
      setImmediate(() => {
        this.fresh = null;
      });
    }
    return this.fresh.get(name) ?? this.links.get(name)!;
  }

  private linkInterface(name: string): Interface {
    const seldom = (type: string, get: (link: LinkStatus) => Value): Property => ({
      type,
      changes: 'seldom',
      get: () => get(this.links.get(name)!),
    });
    return {
      name: LINK,
      properties: {
        Name: { type: 's', changes: 'never', get: () => name },
        Role: seldom('s', (link) => link.role),
        Mac: seldom('s', (link) => link.mac),
        Protocol: seldom('s', (link) => link.protocol),
        Relay: seldom('s', (link) => link.relay),
        RelayReason: seldom('s', (link) => link.relayReason),
        Leak: seldom('s', (link) => link.leak),
        LeakReason: seldom('s', (link) => link.leakReason),
        Members: seldom('as', (link) => link.members),
        Peer: seldom('a{sv}', (link) => peerDictionary(link.peer)),
        Timers: seldom('a{sd}', (link) => link.timers),
        Counters: { type: 'a{st}', changes: 'often', get: () => this.readLink(name).counters },
        Slaves: {
          type: 'aa{sv}',
          changes: 'often',
          get: () => this.readLink(name).slaves.map(slaveDictionary),
        },
      },
    };
  }

  /** One table for all VSIs: they come and go by the thousand. */
  private makeVsiInterface(): Interface {
    const property = (
      type: string,
      get: (vsi: VsiStatus) => Value,
      changes: Property['changes'] = 'seldom',
    ): Property => ({ type, changes, get: (path) => get(this.vsis.get(path)!) });
    return {
      name: VSI,
      properties: {
        Id: property('s', (vsi) => vsi.id, 'never'),
        Link: property('o', (vsi) => linkPath(vsi.link), 'never'),
        State: property('s', (vsi) => vsi.state),
        Manager: property('s', (vsi) => vsi.manager),
        Type: property('u', (vsi) => vsi.type),
        TypeVersion: property('y', (vsi) => vsi.typeVersion),
        Profile: property('s', (vsi) => vsi.profile),
        Filters: property('aa{sv}', (vsi) => vsi.filters.map(fromFilter)),
        Hint: property('s', (vsi) => vsi.hint),
        Owner: property('s', (vsi) => vsi.owner),
        Reason: property('s', (vsi) => vsi.reason),
        Since: property('t', (vsi) => vsi.since),
        History: property('aa{sv}', (vsi) =>
          vsi.history.map(({ time, state, reason }) => ({
            time: new Variant('t', time),
            state: new Variant('s', state),
            reason: new Variant('s', reason),
          })),
        ),
      },
    };
  }

  private managerInterface(): Interface {
    const { daemon } = this;
    return {
      name: MANAGER,
      methods: {
        Associate: {
          in: { link: 's', vsi: 'a{sv}' },
          out: { path: 'o' },
          privileged: true,
          call: ([link, vsi]) =>
            asReply(async () => {
              const { link: at, id } = await daemon.associate(
                link as string,
                toVsiRequest(vsi as Dictionary),
              );
              return [vsiPath(at, id)];
            }),
        },
        PreAssociate: {
          in: { link: 's', vsi: 'a{sv}', reserve: 'b' },
          out: { path: 'o' },
          privileged: true,
          call: ([link, vsi, reserve]) =>
            asReply(async () => {
              const request = toVsiRequest(vsi as Dictionary);
              const { link: at, id } = await daemon.preassociate(link as string, request, reserve as boolean);
              return [vsiPath(at, id)];
            }),
        },
        Deassociate: {
          in: { id: 's' },
          out: {},
          privileged: true,
          call: ([id]) =>
            asReply(async () => {
              await daemon.deassociate(id as string);
              return [];
            }),
        },
        Release: {
          in: { link: 's' },
          out: {},
          privileged: true,
          call: ([link]) =>
            asReply(async () => {
              await daemon.release(link as string);
              return [];
            }),
        },
        Probe: {
          in: { link: 's' },
          out: { report: 'a{sv}' },
          privileged: true,
          call: ([link]) => asReply(async () => [probeDictionary(await daemon.probe(link as string))]),
        },
        Reload: {
          in: {},
          out: { changes: 'as' },
          privileged: true,
          call: () => asReply(async () => [await daemon.reload()]),
        },
        Watch: {
          in: { link: 's' },
          out: {},
          privileged: true,
          call: ([link], sender) => asReply(() => this.watch(link as string, sender)),
        },
        Unwatch: {
          in: { link: 's' },
          out: {},
          call: ([link], sender) => {
            this.unwatch(link as string, sender);
            return [];
          },
        },
      },
      properties: { Version: { type: 's', changes: 'never', get: () => daemon.version } },
      signals: {
        VsiChanged: { id: 's', state: 's', reason: 's' },
        Frame: { link: 's', time: 'd', sent: 'b', bytes: 'ay' },
      },
    };
  }

  // Frames, to those who watch

  private async watch(link: string, sender: string): Promise<Value[]> {
    const { connection } = this;
    if (connection === null) return [];
    if (!this.links.has(link)) {
      const known = [...this.links.keys()].join(', ') || 'none';
      throw new EvbError('NoSuchLink', `${link} is no link of evbd; configured are: ${known}`);
    }
    let links = this.watchers.get(sender);
    if (links === undefined) {
      if (this.watchers.size >= MAX_WATCHERS) {
        throw new CallError(
          'org.freedesktop.DBus.Error.LimitsExceeded',
          `${MAX_WATCHERS} programs watch frames already`,
        );
      }
      links = new Set();
      this.watchers.set(sender, links);
      try {
        await connection.callBus('AddMatch', 's', [departure(sender)], BUS_DEADLINE);
        // It may have left before the match was there.
        const [stays] = await connection.callBus('NameHasOwner', 's', [sender], BUS_DEADLINE);
        if (stays !== true) this.dropWatcher(sender);
      } catch (error) {
        this.watchers.delete(sender);
        throw error;
      }
    }
    links.add(link);
    return [];
  }

  private unwatch(link: string, sender: string): void {
    const links = this.watchers.get(sender);
    links?.delete(link);
    if (links?.size === 0) this.dropWatcher(sender);
  }

  private dropWatcher(sender: string): void {
    if (!this.watchers.delete(sender)) return;
    this.connection?.callBus('RemoveMatch', 's', [departure(sender)], BUS_DEADLINE).catch(() => {});
  }

  private signal(envelope: Envelope): void {
    if (envelope.sender !== 'org.freedesktop.DBus' || envelope.member !== 'NameOwnerChanged') return;
    const [name, , owner] = envelope.readBody();
    if (typeof name === 'string' && owner === '') this.dropWatcher(name);
  }

  private frame(link: string, time: number, sent: boolean, octets: Uint8Array): void {
    for (const [sender, links] of this.watchers) {
      if (!links.has(link)) continue;
      if (this.connection === null) return;
      if (this.connection.backlog > MAX_FRAME_BACKLOG) {
        if (this.dropped++ === 0)
          this.log.warn('D-Bus: the bus does not keep up; frames for watchers are left out');
        continue;
      }
      if (this.dropped > 0) this.log.info(`D-Bus: ${this.dropped} frames for watchers were left out`);
      this.dropped = 0;
      this.server.emit(ROOT, MANAGER, 'Frame', [link, time, sent, octets], { destination: sender });
    }
  }
}

function departure(sender: string): string {
  return `type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='${sender}'`;
}

/** The daemon's failures by their names on the bus. */
async function asReply(run: () => Promise<readonly Value[]>): Promise<readonly Value[]> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof EvbError)
      throw new CallError(`${ERROR_PREFIX}${error.name}`, error.message.replace(/\s*\n\s*/g, ' '));
    throw error;
  }
}

function slaveDictionary(slave: SlaveStatus): Dictionary {
  const { name, kind, mode, mac, vlan, namespace, vsi, reason } = slave;
  return {
    name: new Variant('s', name),
    kind: new Variant('s', kind),
    mode: new Variant('s', mode),
    mac: new Variant('s', mac),
    vlan: new Variant('q', vlan),
    namespace: new Variant('i', namespace),
    vsi: new Variant('s', vsi),
    reason: new Variant('s', reason),
  };
}

function probeDictionary(report: ProbeReport): Dictionary {
  const dictionary: Dictionary = {};
  for (const [key, value] of Object.entries(report)) dictionary[key] = new Variant(PROBE_TYPES[key]!, value);
  return dictionary;
}

const PROBE_TYPES: Readonly<Record<string, string>> = {
  link: 's',
  reflects: 'b',
  enforced: 'b',
  relay: 's',
  sent: 'u',
  received: 'u',
  duplicates: 'u',
  vlan: 'q',
  addresses: 'as',
  latencyMin: 'd',
  latencyMedian: 'd',
  latencyMax: 'd',
} satisfies Record<keyof ProbeReport, string>;

function peerDictionary(peer: LinkStatus['peer']): Dictionary {
  const dictionary: Dictionary = {};
  for (const [key, value] of Object.entries(peer)) dictionary[key] = new Variant(peerType(value), value);
  return dictionary;
}

function peerType(value: string | number | boolean): string {
  if (typeof value === 'string') return 's';
  if (typeof value === 'boolean') return 'b';
  if (!Number.isSafeInteger(value)) return 'd';
  return value >= 0 && value <= 0xffffffff ? 'u' : 'x';
}
