import { type Client, connect } from '../../src/dbus/client.ts';
import type { LinkStatus, VsiStatus } from '../../src/model.ts';
import { Host, World } from '../support/world.ts';

/** Milliseconds; of calls, and until a wait tells what it has seen last. An emulated machine is slow, a busy one more so. */
const PATIENCE = 200_000;

type Status = Awaited<ReturnType<Client['status']>>;

/** A daemon's D-Bus: in an emulated machine evbctl takes seconds to start, and asking again and again slows down all others. */
class Watched {
  readonly client: Client;
  #told = 0;
  #wake: () => void = () => {};

  private constructor(client: Client) {
    this.client = client;
    const tell = () => {
      this.#told++;
      this.#wake();
    };
    client.on('linkAdded', tell).on('linkUpdated', tell).on('linkRemoved', tell);
    client.on('vsiAdded', tell).on('vsiUpdated', tell).on('vsiRemoved', tell);
  }

  static async of(host: Host): Promise<Watched> {
    const watched = new Watched(await connect(host.bus, PATIENCE));
    await watched.client.subscribe();
    return watched;
  }

  /** Asks whenever something is told, until the answer is as wanted; the last one is in the error. */
  async until<T>(
    ask: (status: Status) => T | undefined,
    wanted: (answer: T) => boolean,
    what: string,
  ): Promise<T> {
    const end = performance.now() + PATIENCE;
    for (;;) {
      const told = this.#told;
      const answer = ask(await this.client.status());
      if (answer !== undefined && wanted(answer)) return answer;
      if (this.#told > told && performance.now() < end) continue;
      await new Promise<void>((resolve, reject) => {
        const late = () => reject(new Error(`${what}: still ${JSON.stringify(answer)}`));
        const timer = setTimeout(late, end - performance.now());
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** Station and bridge on the wire of `World.wired`. */
export class Pair {
  readonly world: World;
  readonly station: Host;
  readonly bridge: Host;
  readonly #atStation: Watched;
  readonly #atBridge: Watched;

  private constructor(
    world: World,
    station: Host,
    bridge: Host,
    [atStation, atBridge]: readonly [Watched, Watched],
  ) {
    this.world = world;
    this.station = station;
    this.bridge = bridge;
    this.#atStation = atStation;
    this.#atBridge = atBridge;
  }

  /** Running, both started at once; `prepare` is done before. */
  static async create(
    configuration: { station: string; bridge: string },
    prepare: (world: World) => void = () => {},
  ): Promise<Pair> {
    const world = await World.wired();
    prepare(world);
    const [station, bridge] = await Promise.all([
      Host.create(world, 'sta', configuration.station),
      Host.create(world, 'br', configuration.bridge),
    ]);
    await Promise.all([bridge.start(), station.start()]);
    const watched = await Promise.all([Watched.of(station), Watched.of(bridge)]);
    return new Pair(world, station, bridge, watched);
  }

  /** A command in the station's namespace. */
  sta(command: string): string {
    return this.world.in('sta', ...command.split(' '));
  }

  /** A command in the bridge's namespace. */
  br(command: string): string {
    return this.world.in('br', ...command.split(' '));
  }

  /** An interface on one of the station's; `how` is what follows its name. */
  add(name: string, on: string, how: string): void {
    this.sta(`ip link add link ${on} name ${name} ${how}`);
  }

  /** The station's link once it is as wanted. */
  link(wanted: (link: LinkStatus) => boolean = () => true, name = 'eth1'): Promise<LinkStatus> {
    const ask = ({ links }: Status) => links.find((link) => link.name === name);
    return this.#atStation.until(ask, wanted, name);
  }

  relay(): Promise<unknown> {
    return this.link(({ relay }) => relay === 'active');
  }

  /** A slave once it is as wanted. */
  slave(
    name: string,
    wanted: (slave: LinkStatus['slaves'][number]) => boolean = () => true,
  ): Promise<LinkStatus['slaves'][number]> {
    const ask = ({ links }: Status) =>
      links.flatMap(({ slaves }) => slaves).find((slave) => slave.name === name);
    return this.#atStation.until(ask, wanted, `slave ${name}`);
  }

  /** The station's VSIs. */
  async vsis(): Promise<VsiStatus[]> {
    return (await this.#atStation.client.status()).vsis;
  }

  async associate(mac: string, vlan: number): Promise<void> {
    await this.#atStation.client.associate('eth1', { mac, vlan, profile: 'web', timeout: PATIENCE });
  }

  deassociate(id: string): Promise<void> {
    return this.#atStation.client.deassociate(id, PATIENCE);
  }

  /** Once what is associated, as MAC/VID, is as wanted at the bridge, and then at the station. */
  async becomesAssociated(...wanted: string[]): Promise<void> {
    const ask = ({ vsis }: Status) =>
      vsis
        .filter(({ state }) => state === 'associated')
        .flatMap(({ filters }) => filters.map(({ mac, vid }) => `${mac}/${vid}`))
        .sort();
    const text = wanted.sort().join();
    for (const watched of [this.#atBridge, this.#atStation])
      await watched.until(ask, (is) => is.join() === text, `VSIs ${text || 'none'}`);
  }

  release(): Promise<void> {
    return this.#atBridge.client.release('swp1', PATIENCE);
  }

  /** Whether the address answers one of so many pings from the namespace. */
  async reaches(namespace: string, address: string, pings = 1): Promise<boolean> {
    const ping = ['ping', '-n', '-q', '-c', String(pings), '-i', '0.2', '-W', '3', address];
    return (await this.world.run(namespace, ...ping)).status === 0;
  }

  end(): Promise<void> {
    return this.world.end();
  }
}
