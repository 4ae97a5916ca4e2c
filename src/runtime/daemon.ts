import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Link as KernelLink } from '../../protocols/rtnetlink/index.ts';
import type { Config } from '../config/config.ts';
import { type Profile, profilesOf } from '../config/profile.ts';
import { BridgePort } from '../kernel/bridge-port.ts';
import { LeakTable } from '../kernel/leak-table.ts';
import { LinkWatch } from '../kernel/link-watch.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { SlaveWatch } from '../kernel/slave-watch.ts';
import {
  type Daemon,
  type DaemonEvents,
  EvbError,
  type LinkStatus,
  type ProbeReport,
  type VsiRequest,
  type VsiStatus,
} from '../model.ts';
import type { Rule } from '../station/association.ts';
import type { Store } from '../store/store.ts';
import { epochMicros, now } from './clock.ts';
import { LeakKeeper } from './leak-keeper.ts';
import type { Log, Surroundings } from './link-driver.ts';
import { ModeKeeper } from './mode-keeper.ts';
import { SwitchPort } from './switch-port.ts';
import { Uplink } from './uplink.ts';

type Driver = Uplink | SwitchPort;

export interface DaemonOptions {
  config: Config;
  store: Store;
  log: Log;
  version: string;
  /** Reads the configuration anew; throws what is wrong with it. */
  readConfig(): Config;
}

/** All configured links, the kernel's links they stand on, and the requests of users to them. */
export class EvbDaemon implements Daemon {
  readonly version: string;
  readonly #events = new EventEmitter();
  readonly #drivers = new Map<string, Driver>();
  readonly #known = new Set<string>();
  readonly #store: Store;
  readonly #log: Log;
  readonly #rtnetlink: Rtnetlink;
  /** Of the slave watch alone: namespaces of others shall not hold up our own changes. */
  readonly #lookout: Rtnetlink;
  readonly #watch: LinkWatch;
  readonly #slaves: SlaveWatch;
  readonly #leaks: LeakKeeper;
  readonly #readConfig: () => Config;
  #config: Config;
  /** Indexes of uplinks that have come just now. */
  readonly #arriving = new Set<number>();
  #started = false;
  /** The last of the operations that must not overlap. */
  #turn: Promise<unknown> = Promise.resolve();

  /** Throws KernelError when netlink cannot be had. */
  constructor(options: DaemonOptions) {
    this.version = options.version;
    this.#config = options.config;
    this.#store = options.store;
    this.#log = options.log;
    this.#readConfig = options.readConfig;
    this.#rtnetlink = new Rtnetlink();
    this.#lookout = new Rtnetlink();
    this.#watch = new LinkWatch(this.#rtnetlink);
    this.#slaves = new SlaveWatch(this.#lookout, this.#watch);
    this.#leaks = new LeakKeeper({
      links: this.#watch,
      onJournal: (ports) => this.#store.putLeakJournal(ports),
      onLeak: (name) => {
        const driver = this.#drivers.get(name);
        if (driver instanceof SwitchPort) driver.leakChanged();
      },
      openTable: (onForeignChange) => new LeakTable(onForeignChange),
      warn: (text) => this.#log.warn({}, text),
    });
    this.#events.setMaxListeners(0);
  }

  /** Reads the kernel's links and what a run before left. Nothing is sent or changed yet. Rejects with KernelError, StoreError. */
  async prepare(): Promise<void> {
    this.#watch.on('added', (link) => {
      this.#updateWithMaster(link);
      void this.#arrived(link);
    });
    this.#watch.on('changed', (link, previous) => {
      if (previous.master !== link.master) this.#updateMaster(previous);
      this.#updateWithMaster(link);
    });
    this.#watch.on('renamed', (_link, previousName) => this.#update(previousName));
    this.#watch.on('removed', (link) => this.#updateWithMaster(link));
    for (const event of ['added', 'changed', 'removed'] as const) {
      this.#watch.on(event, () => this.#leaks.refresh());
    }
    this.#watch.on('error', (error) => this.#log.error({}, error.message));
    this.#slaves.on('changed', () => this.#updateSlaves());
    this.#slaves.on('trouble', (text) => this.#log.warn({}, text));
    await this.#watch.start();
    await this.#slaves.start();
    await this.#store.sinceBoot(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
    for (const name of [...Object.keys(this.#config.uplinks), ...Object.keys(this.#config.ports)]) {
      await this.#add(name);
    }
  }

  /** Every configured link is taken into use, as far as it is there. */
  async start(): Promise<void> {
    await this.#undoForgotten();
    this.#started = true;
    for (const name of this.#drivers.keys()) this.#update(name);
    this.#updateSlaves();
    this.#leaks.start(await this.#store.leakJournal());
  }

  /** What `stop` will do to the links. */
  get onExit(): Config['on-exit'] {
    return this.#config['on-exit'];
  }

  /** Ends as `on-exit` says. */
  async stop(): Promise<void> {
    await this.#turn;
    if (this.#config['on-exit'] === 'release') {
      const released = [...this.#drivers.values()].map((driver) => driver.release());
      for (const outcome of await Promise.allSettled(released)) {
        if (outcome.status === 'rejected') this.#log.error({}, `release: ${outcome.reason.message}`);
      }
    }
    await Promise.all([...this.#drivers.values()].map((driver) => driver.stop()));
    await this.#leaks.close();
    this.#slaves.close();
    this.#watch.close();
    this.#rtnetlink.close();
    this.#lookout.close();
    await this.#store.close();
  }

  links(): LinkStatus[] {
    return [...this.#drivers.values()].map((driver) => driver.status());
  }

  vsis(): VsiStatus[] {
    return [...this.#drivers.values()].flatMap((driver) => driver.vsis());
  }

  associate(link: string, request: VsiRequest): Promise<VsiStatus> {
    return this.#request(link, request, 'associate');
  }

  preassociate(link: string, request: VsiRequest, reserve: boolean): Promise<VsiStatus> {
    return this.#request(link, request, reserve ? 'reserve' : 'preassociate');
  }

  async deassociate(id: string): Promise<void> {
    const slash = id.indexOf('/');
    const [link, vsi] = slash < 0 ? [undefined, id] : [id.slice(0, slash), id.slice(slash + 1)];
    const drivers = link === undefined ? [...this.#drivers.values()] : [this.#driver(link)];
    const holders = drivers.filter((driver) => driver.has(vsi));
    const [holder] = holders;
    if (holder === undefined) throw new EvbError('NoSuchVsi', `there is no VSI ${id}; evbctl vsi lists them`);
    if (holders.length > 1) {
      const names = holders.map(({ name }) => `${name}/${vsi}`).join(' or ');
      throw new EvbError('Conflict', `VSI ${vsi} is on several links: say ${names}`);
    }
    await holder.deassociate(vsi);
  }

  release(link: string): Promise<void> {
    const driver = this.#driver(link);
    return this.#inTurn(() => driver.release());
  }

  async probe(link: string): Promise<ProbeReport> {
    const driver = this.#driver(link);
    if (driver instanceof Uplink) return driver.probe();
    throw new EvbError(
      'InvalidArgument',
      `${link} is a port of the bridge role; what is probed is the bridge at the other end of an uplink`,
    );
  }

  /** Released links are taken up again; what differs in the file is applied to the links it is about. */
  reload(): Promise<string[]> {
    return this.#inTurn(() => this.#reload());
  }

  async #reload(): Promise<string[]> {
    let config: Config;
    try {
      config = this.#readConfig();
    } catch (error) {
      throw new EvbError('InvalidArgument', `${(error as Error).message}; the running configuration stays`);
    }
    const before = this.#config;
    this.#config = config;
    const changes: string[] = [];
    for (const key of ['on-exit', 'limits', 'profiles', 'rules'] as const) {
      if (!same(before[key], config[key])) changes.push(`${key}: changed`);
    }
    const forAll = (['profiles', 'limits', 'rules'] as const).some((key) => !same(before[key], config[key]));
    const kinds = ['uplinks', 'ports'] as const;
    // What is there, not what should be: a removal or addition that failed is tried again.
    const names = new Set([...this.#drivers.keys(), ...kinds.flatMap((kind) => Object.keys(config[kind]))]);
    for (const name of names) {
      const was = this.#kindOf(name);
      const is = kinds.find((kind) => Object.hasOwn(config[kind], name));
      try {
        if (was !== undefined && was !== is) {
          await this.#remove(name);
          changes.push(`${was}.${name}: removed, released`);
        }
        if (is !== undefined && was !== is) {
          await this.#add(name);
          changes.push(`${is}.${name}: added`);
        }
        if (is === undefined || was !== is) continue;
        const changed = !same(before[is][name], config[is][name]);
        if (changed || forAll) this.#reconfigure(name);
        if (changed) changes.push(`${is}.${name}: changed`);
        const driver = this.#drivers.get(name)!;
        if (driver.released) {
          driver.takeUp();
          changes.push(`${name}: taken up again`);
        }
      } catch (error) {
        this.#log.error({ link: name }, `reload: ${(error as Error).message}`);
        changes.push(`${name}: FAILED: ${(error as Error).message}`);
      }
    }
    return changes;
  }

  /** Reloads and releases, one after the other. */
  #inTurn<T>(operation: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(operation, operation);
    this.#turn = done.catch(() => {});
    return done;
  }

  on<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void {
    this.#events.on(event, listener);
  }

  off<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void {
    this.#events.off(event, listener);
  }

  async #request(
    link: string,
    request: VsiRequest,
    kind: 'preassociate' | 'reserve' | 'associate',
  ): Promise<VsiStatus> {
    const driver = this.#driver(link);
    if (driver.role === 'bridge') {
      throw new EvbError(
        'InvalidArgument',
        `${link} is a port of the bridge role; VSIs are asked for on uplinks`,
      );
    }
    return driver.request(request, kind);
  }

  #driver(link: string): Driver {
    const driver = this.#drivers.get(link);
    if (driver === undefined) {
      const known = [...this.#drivers.keys()].join(', ') || 'none';
      throw new EvbError('NoSuchLink', `there is no link ${link} in the configuration (links: ${known})`);
    }
    return driver;
  }

  #settings<K extends 'uplinks' | 'ports'>(kind: K, name: string) {
    const config = this.#config[kind][name] as Config[K][string];
    const profiles = profilesOf(this.#config, config.interop['manager-octet']);
    return { config, limits: this.#config.limits, profiles, rules: rulesOf(this.#config, profiles, name) };
  }

  #kindOf(name: string): 'uplinks' | 'ports' | undefined {
    const driver = this.#drivers.get(name);
    return driver && (driver instanceof Uplink ? 'uplinks' : 'ports');
  }

  #reconfigure(name: string): void {
    const driver = this.#drivers.get(name)!;
    if (driver instanceof Uplink) driver.reconfigure(this.#settings('uplinks', name));
    else driver.reconfigure(this.#settings('ports', name));
  }

  async #add(name: string): Promise<void> {
    const around = this.#surroundings(name);
    const driver = Object.hasOwn(this.#config.uplinks, name)
      ? new Uplink(name, this.#settings('uplinks', name), around)
      : new SwitchPort(name, this.#settings('ports', name), around);
    await driver.recall();
    this.#drivers.set(name, driver);
    this.#events.emit('linkAdded', driver.status());
    for (const vsi of driver.vsis()) around.vsiChanged(vsi, false);
    this.#update(name);
  }

  async #remove(name: string): Promise<void> {
    const driver = this.#drivers.get(name);
    if (driver === undefined) return;
    await driver.release();
    await driver.stop();
    this.#drivers.delete(name);
    await this.#store.settled();
    for (const vsi of driver.vsis()) this.#surroundings(name).vsiChanged(vsi, true);
    this.#events.emit('linkRemoved', name);
  }

  #update(name: string): void {
    if (this.#started) this.#drivers.get(name)?.update(this.#watch.get(name));
  }

  #updateWithMaster(link: KernelLink): void {
    this.#update(link.name);
    this.#updateMaster(link);
  }

  /** A bond is what its members are. */
  #updateMaster({ master, member }: KernelLink): void {
    const bond = member === undefined || master === undefined ? undefined : this.#watch.get(master);
    if (bond !== undefined) this.#update(bond.name);
  }

  /** An uplink that was elsewhere may have brought slaves along, of which the kernel tells nothing. */
  async #arrived({ name, index }: KernelLink): Promise<void> {
    if (!this.#started || !Object.hasOwn(this.#config.uplinks, name)) return;
    this.#arriving.add(index);
    await this.#slaves.search();
    this.#arriving.delete(index);
    this.#updateSlaves();
  }

  #updateSlaves(): void {
    if (!this.#started) return;
    for (const [name, driver] of this.#drivers) {
      const link = this.#watch.get(name);
      if (!(driver instanceof Uplink)) continue;
      if (link === undefined) driver.setSlaves([], false);
      else if (!this.#arriving.has(link.index)) driver.setSlaves(this.#slaves.slavesOf(link.index), true);
    }
  }

  /** Changes of the kernel at ports that the configuration no longer names. */
  async #undoForgotten(): Promise<void> {
    for (const journal of await this.#store.journals()) {
      if (Object.hasOwn(this.#config.ports, journal.name)) continue;
      const link: KernelLink | undefined = this.#watch.get(journal.name);
      const port = new BridgePort(this.#rtnetlink, link ?? journal, { journal });
      try {
        await port.restore();
      } catch (error) {
        this.#log.error(
          { link: journal.name },
          `no longer configured, but not put back: ${(error as Error).message}`,
        );
        continue;
      }
      await this.#store.putJournal(journal.name, null);
      this.#log.info({ link: journal.name }, 'no longer configured: the bridge port is as it was');
    }
    for (const name of await this.#store.switchedUplinks()) {
      if (!Object.hasOwn(this.#config.uplinks, name)) await this.#switchBack(name);
    }
    const names = [...Object.keys(this.#config.uplinks), ...Object.keys(this.#config.ports)];
    for (const [name, count] of await this.#store.forgetVsisExcept(names)) {
      this.#log.warn({ link: name }, `no longer configured: ${count} stored VSIs are forgotten`);
    }
  }

  /** Slaves that an earlier run set to bridge mode, on an uplink that is no longer ours. */
  async #switchBack(uplink: string): Promise<void> {
    const link = this.#watch.get(uplink);
    // It may come back, with its slaves as they are.
    if (link === undefined) return;
    const keeper = new ModeKeeper({
      journal: await this.#store.switched(uplink),
      onJournal: (switched) => this.#store.putSwitched(uplink, switched),
      slaves: () => this.#slaves.slavesOf(link.index),
      wanted: () => false,
      placeOf: (namespaceId) => this.#slaves.placeOf(namespaceId),
      setMode: (slave, mode, place) => this.#slaves.setMode(slave, mode, place),
      changed: () => {},
      warn: (text) => this.#log.error({ link: uplink }, text),
    });
    await keeper.restore();
    if ((await this.#store.switched(uplink)).length > 0) return;
    this.#log.info({ link: uplink }, 'no longer configured: its slaves are in VEPA mode again');
  }

  #surroundings(name: string): Surroundings {
    return {
      store: this.#store,
      rtnetlink: this.#rtnetlink,
      leaks: this.#leaks,
      placeOf: (namespaceId) => this.#slaves.placeOf(namespaceId),
      setSlaveMode: async (slave, mode, place) => {
        await this.#slaves.setMode(slave, mode, place);
        // Who asked shall not go by what was before.
        this.#updateSlaves();
      },
      log: this.#log,
      linkOf: (index) => this.#watch.get(index),
      membersOf: (index) =>
        this.#watch.links.filter(({ master, member }) => member !== undefined && master === index),
      linkChanged: () => {
        const driver = this.#drivers.get(name);
        if (driver !== undefined) this.#events.emit('linkChanged', driver.status());
      },
      vsiChanged: (vsi, removed) => {
        const key = `${vsi.link}/${vsi.id}`;
        const known = this.#known.has(key);
        if (removed) {
          if (this.#known.delete(key)) this.#events.emit('vsiRemoved', vsi);
        } else {
          this.#known.add(key);
          this.#events.emit(known ? 'vsiChanged' : 'vsiAdded', vsi);
        }
      },
      frame: (sent, octets) => {
        if (this.#events.listenerCount('frame') > 0)
          this.#events.emit('frame', name, epochMicros(now()) / 1e6, sent, octets);
      },
    };
  }
}

/** The rules that may be about one uplink, in their order. */
function rulesOf({ rules }: Config, profiles: readonly Profile[], uplink: string): Rule[] {
  return rules.flatMap(({ match, profile }, i) => {
    if (match.uplink !== undefined && match.uplink !== uplink) return [];
    const rule = { number: i + 1, profile: profiles.find(({ name }) => name === profile)! };
    return match.mac === undefined ? [rule] : [{ ...rule, mac: match.mac }];
  });
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
